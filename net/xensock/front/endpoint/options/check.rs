// SPDX-License-Identifier: GPL-2.0

//! Checks if a socket has an option, and if it can be set.

use crate::{
    commands::wire_error,
    devices::Devices,
    endpoint::Endpoint,
    proto::{
        call::SOCK_DGRAM,
        option::{
            SockOpt,
            SOL_TCP,
            SO_BROADCAST,
            SO_MAX_PACING_RATE,
            SO_NO_CHECK,
            SO_RXQ_OVFL,
            SO_TXREHASH,
            TCP_FASTOPEN,
            TCP_FASTOPEN_CONNECT,
            TCP_FASTOPEN_NO_COOKIE, //
        },
        Feature, //
    }, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::{
            Sock,
            TcpState, //
        },
    },
    prelude::*, //
};

impl Endpoint {
    /// Returns `true` if an option of `SOL_SOCKET` concerns the backend, for a socket of this type.
    pub(super) fn concerns_backend(&self, option: &SockOpt) -> bool {
        match option.name {
            SO_BROADCAST | SO_NO_CHECK | SO_RXQ_OVFL => self.kind == SOCK_DGRAM,
            SO_MAX_PACING_RATE | SO_TXREHASH => self.kind != SOCK_DGRAM,
            _ => true,
        }
    }

    /// Checks that a socket of this family and type has an option.
    pub(super) fn check_has(&self, option: &SockOpt) -> Result {
        let is_other = (option.needs_ipv6() && self.domain == Some(Domain::Inet))
            || (option.needs_stream() && self.kind == SOCK_DGRAM)
            || (option.needs_datagrams() && self.kind != SOCK_DGRAM);
        if is_other {
            return Err(ENOPROTOOPT);
        }
        Ok(())
    }

    /// Checks that a socket of this family and type has an option, and that it can be set.
    pub(super) fn check_can_set(&self, option: &SockOpt) -> Result {
        self.check_has(option)?;
        match option.error_on_stream() {
            Some(error) if self.kind != SOCK_DGRAM => Err(wire_error(error)),
            _ if self.kind == SOCK_DGRAM && is_refused(option) => Err(ENOPROTOOPT),
            _ => Ok(()),
        }
    }
}

/// Returns `true` if an option asks for control messages with datagrams that the backend cannot
/// provide.
fn is_refused(option: &SockOpt) -> bool {
    let has_info = || Devices::may_have(|link| link.has(Feature::Info));
    option.is_for_headers() || (option.is_for_info() && !has_info())
}

/// Checks that it is early enough for an option that affects the start of a connection.
pub(super) fn check_early(sk: &Sock, option: &SockOpt) -> Result {
    let is_early = match (option.level, option.name, sk.state()) {
        (SOL_TCP, TCP_FASTOPEN_CONNECT, state) => state == TcpState::Close,
        (SOL_TCP, TCP_FASTOPEN | TCP_FASTOPEN_NO_COOKIE, state) => {
            matches!(state, TcpState::Close | TcpState::Listen)
        }
        _ => true,
    };
    if !is_early {
        return Err(EINVAL);
    }
    Ok(())
}
