// SPDX-License-Identifier: GPL-2.0

//! Socket options: those that the backend has to know, and those that it need not.

mod carried;
mod check;
mod get;

use super::Endpoint;
use crate::{
    commands::wire_error,
    conn::Conn,
    proto::{
        call::SOCK_DGRAM,
        native,
        option::{
            self,
            Access,
            Interface,
            SockOpt,
            GIVEN_LEN,
            SOL_SOCKET,
            SOL_TCP,
            SO_MAX_PACING_RATE,
            SO_PRIORITY,
            SO_REUSEPORT,
            SO_TXREHASH,
            TCP_NOTSENT_LOWAT, //
        },
        value::Value, //
    },
    saved_options::SavedOptions, //
};
use check::check_early;
use kernel::{
    net::{
        sock::Sock,
        socket::Socket,
        sockopt::OptionIn, //
    },
    prelude::*,
    sync::Arc, //
};

/// Enables MSG_ZEROCOPY. Does not concern the backend.
const SO_ZEROCOPY: u32 = 60;
/// Packet timestamps, which the backend does not report.
const SO_TIMESTAMPING_OLD: u32 = 37;
const SO_TIMESTAMPING_NEW: u32 = 65;

impl Endpoint {
    /// `setsockopt()`.
    pub(crate) fn set_option(
        &self,
        socket: &Socket,
        sk: &Sock,
        level: i32,
        name: i32,
        given: &OptionIn<'_>,
    ) -> Result {
        let (level, name) = numbers(level, name)?;
        if level == option::SOL_SOCKET {
            return self.set_socket_option(socket, sk, name, given);
        }
        match (level, self.kind) {
            // The same error as for an unknown level, before any other check.
            (option::SOL_TCP, SOCK_DGRAM) => return Err(ENOPROTOOPT),
            (option::SOL_UDP, kind) if kind != SOCK_DGRAM => return Err(ENOPROTOOPT),
            _ => (),
        }
        if let Some(option) = option::for_setting(level, name) {
            self.check_can_set(option)?;
        }
        let mut bytes = [0; GIVEN_LEN];
        let len = given.read_prefix(&mut bytes)?;
        let given = bytes.get(..len).unwrap_or(&bytes);
        let (option, value) = option::to_set(level, name, given).map_err(wire_error)?;
        match option.access {
            // The value is constant.
            Access::Fixed => return Ok(()),
            Access::Own => {
                check_early(sk, option)?;
                self.note(option, value)?;
            }
            _ if option.is_for_reports() && self.kind == SOCK_DGRAM => {
                self.ask_for_reports(sk, option, value)?;
            }
            // A stream has no such reports.
            _ if option.is_for_reports() => self.note(option, value)?,
            _ => self.carry_at(sk, option, value, Interface::of(level, name, given))?,
        }
        if let (SOL_TCP, TCP_NOTSENT_LOWAT, Some(conn)) = (level, name, self.conn()) {
            conn.set_not_sent_lowat(self.not_sent_lowat());
            // There may be room now.
            sk.write_space();
        }
        Ok(())
    }

    /// Turns reports of datagram errors on or off. Without support by the backend, the program
    /// finds no reports.
    fn ask_for_reports(&self, sk: &Sock, option: &SockOpt, value: Value) -> Result {
        let is_carried = match self.carry(sk, option, value) {
            // A backend without reports.
            Err(ENOPROTOOPT) => false,
            result => result.map(|()| true)?,
        };
        if !is_carried {
            self.note(option, value)?;
        }
        if value.to_int() == Some(0) {
            // Drop the reports that have arrived until now.
            if let Some(conn) = self.conn() {
                Conn::queue_frames(conn.as_arc_borrow());
            }
            sk.purge_network_errors();
        }
        Ok(())
    }

    /// Returns the value of TCP_NOTSENT_LOWAT, or 0.
    pub(crate) fn not_sent_lowat(&self) -> u32 {
        // CAST: As TCP takes it: a negative number is a large one.
        self.known_option(SOL_TCP, TCP_NOTSENT_LOWAT) as u32
    }

    /// Sets an option of `SOL_SOCKET`. The kernel keeps its value.
    fn set_socket_option(
        &self,
        socket: &Socket,
        sk: &Sock,
        name: u32,
        given: &OptionIn<'_>,
    ) -> Result {
        match name {
            SO_ZEROCOPY => return set_zerocopy(sk, given),
            SO_TIMESTAMPING_OLD | SO_TIMESTAMPING_NEW => {
                let flags = given.read::<4>()?;
                if native::is_asked_for(SOL_SOCKET as i32, name as i32, &flags) {
                    return Err(EOPNOTSUPP);
                }
            }
            _ => (),
        }
        if !option::of_socket(name).is_some_and(|option| self.concerns_backend(option)) {
            socket.set_option(name as i32, given)?;
            self.send_buffer_size(sk, name);
            return Ok(());
        }
        // The program may change its buffer meanwhile: this copy counts for both ends.
        let mut bytes = [0; 8];
        let len = given.read_prefix(&mut bytes)?;
        let given = OptionIn::new(bytes.get(..len).unwrap_or(&bytes));
        let number = match (name, given.read::<8>()) {
            (SO_MAX_PACING_RATE, Ok(rate)) => {
                // The wire format has no larger rate: the largest means no limit.
                u32::try_from(u64::from_ne_bytes(rate)).unwrap_or(u32::MAX) as i32
            }
            _ => given.read_int()?,
        };
        let is_off = number == 0;
        let bytes = number.to_ne_bytes();
        match option::to_set(option::SOL_SOCKET, name, &bytes) {
            Ok((option, value)) => match self.carry(sk, option, value) {
                Ok(()) => (),
                // PV Calls has no such option. Programs can do without it, but not without a port
                // that they share.
                Err(ENOPROTOOPT) if name != SO_REUSEPORT || is_off => {
                    self.set_local_option(option, &value)?;
                }
                Err(error) => return Err(error),
            },
            // Only privileged programs may set a higher priority, and no guest is privileged.
            Err(_) if name == SO_PRIORITY => (),
            Err(error) => return Err(wire_error(error)),
        }
        match name {
            // The kernel does these only for internet sockets and for TCP.
            SO_REUSEPORT => sk.lock().set_reuse_port(!is_off),
            SO_TXREHASH => sk.set_txrehash(number),
            _ => return socket.set_option(name as i32, &given),
        }
        Ok(())
    }

    /// Notes an option that does not concern the backend. Fails if the native socket has taken
    /// over: it has the options that were noted before.
    fn note(&self, option: &SockOpt, value: Value) -> Result {
        let _call = self.lock_call()?;
        if self.is_native() {
            return Err(EAGAIN);
        }
        let old = self.inner.lock().settings.clone();
        let settings = SavedOptions::with(old.as_deref(), option, value, Interface::default())?;
        self.set_local_option(option, &value)?;
        let old = self.inner.lock().settings.replace(settings);
        drop(old);
        Ok(())
    }

    /// Returns `true` if the socket has joined a group. Does not sleep.
    pub(crate) fn has_groups(&self) -> bool {
        let inner = self.inner.lock();
        inner.settings.as_ref().is_some_and(|s| s.has_groups())
    }

    /// Returns the options that were set. Does not sleep.
    pub(crate) fn known_options(&self) -> Option<Arc<SavedOptions>> {
        self.inner.lock().settings.clone()
    }

    /// Returns the value that an option was set to, or 0. Does not sleep.
    pub(crate) fn known_option(&self, level: u32, name: u32) -> i32 {
        let inner = self.inner.lock();
        let value = inner.settings.as_ref().and_then(|s| s.find(level, name));
        value.and_then(|value| value.to_int()).unwrap_or(0)
    }

    /// Sets an option on the socket that listens in the guest itself, if there is one.
    fn set_local_option(&self, option: &SockOpt, value: &Value) -> Result {
        let listener = self.listener();
        match listener.as_ref().and_then(|l| l.local.as_ref()) {
            Some(local) => local.set_option(option, value),
            None => Ok(()),
        }
    }
}

/// Enables or disables MSG_ZEROCOPY. The kernel does this only for protocols it knows.
fn set_zerocopy(sk: &Sock, given: &OptionIn<'_>) -> Result {
    match given.read_int()? {
        0 => sk.lock().set_zerocopy(false),
        1 => sk.lock().set_zerocopy(true),
        _ => return Err(EINVAL),
    }
    Ok(())
}

/// Returns level and name of an option in the wire format.
fn numbers(level: i32, name: i32) -> Result<(u32, u32)> {
    let number = |n: i32| u32::try_from(n).map_err(|_| ENOPROTOOPT);
    Ok((number(level)?, number(name)?))
}
