// SPDX-License-Identifier: GPL-2.0

//! Reading options: from the backend, or from the values kept in the guest.

use super::{
    numbers,
    Endpoint, //
};
use crate::{
    commands::wire_error,
    proto::{
        call::SOCK_DGRAM,
        option::{
            self,
            Kind,
            SockOpt,
            INFO_WAITING,
            SOL_TCP,
            SOL_UDP,
            TCP_INFO,
            XS_OUTQ, //
        },
        pieces::Pieces,
        value::{
            Piece,
            Value,
            MAX_LEN, //
        },
        Body,
        Call,
        Response, //
    },
    remote_socket::RemoteSocket, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::Sock,
        sockopt::OptionOut, //
    },
    prelude::*, //
};

/// How often `TCP_INFO` is read at most, until no connection was handed over meanwhile.
const INFO_TRIES: u32 = 8;

impl Endpoint {
    /// Returns the value of an option that was not set and does not concern the backend.
    fn unset(&self, option: &SockOpt) -> Value {
        option.unset(self.domain == Some(Domain::Inet6))
    }

    /// `getsockopt()`.
    pub(crate) fn get_option(
        &self,
        sk: &Sock,
        level: i32,
        name: i32,
        out: OptionOut<'_>,
    ) -> Result {
        let (level, name) = numbers(level, name)?;
        let option = option::to_get(level, name).map_err(wire_error)?;
        self.check_has(option)?;
        let known = || {
            let settings = self.inner.lock().settings.clone();
            settings.and_then(|settings| settings.get(option))
        };
        // Linux cannot read UDP's options within the kernel.
        let is_unknown = self.kind == SOCK_DGRAM
            && (option.is_for_headers() || option.is_for_info() || option.level == SOL_UDP);
        if is_unknown || option::may_get(level, name).is_err() {
            let value = known().unwrap_or(self.unset(option));
            return give(option, value.as_bytes(), out);
        }
        let room = out.len();
        let is_info = (level, name) == (SOL_TCP, TCP_INFO);
        // Connections that the backend has handed over still wait for `accept()`.
        let handed_over = || {
            let listener = if is_info { self.listener() } else { None };
            Some(listener?.waiting())
        };
        let (value, waiting) = {
            let call = self.lock_call()?;
            let mut tries = INFO_TRIES;
            loop {
                let before = handed_over();
                let value =
                    self.with_remote(&call, sk, option, |remote| read(remote, option, room));
                tries -= 1;
                // One that is handed over meanwhile would count twice.
                if tries == 0 || handed_over() == before {
                    break (value, before);
                }
            }
        };
        // From here on without the lock: copying to the program may wait for anything.
        match value {
            // Without the backend's socket only values set by the program are known. Without a
            // backend, a flag that was not set is 0.
            Err(error @ (EBADF | ENETDOWN)) => {
                let unset = match (error, option.kind) {
                    (EBADF, _) => Err(ENOTCONN),
                    (_, Kind::Flag) if self.domain.is_some() => Ok(self.unset(option)),
                    _ => Err(error),
                };
                give(option, known().map_or(unset, Ok)?.as_bytes(), out)
            }
            value => {
                let mut value = value?;
                if let Some(waiting) = waiting {
                    let waiting = u32::try_from(waiting)?;
                    option::change_info(&mut value, INFO_WAITING, |n| n.saturating_add(waiting));
                }
                // The backend's TCP may be ahead of the socket, or behind it.
                if let Some(conn) = self.live_conn().filter(|_| is_info) {
                    conn.update_socket();
                    if let Some(state) = value.first_mut() {
                        *state = sk.state() as u8;
                    }
                }
                give(option, &value, out)
            }
        }
    }

    /// Returns the number of bytes that the backend has taken and the peer has not acknowledged.
    pub(crate) fn sent_not_acknowledged(&self, sk: &Sock) -> Result<u32> {
        let option = option::may_get(option::SOL_XS, XS_OUTQ).map_err(wire_error)?;
        self.check_has(option)?;
        let call = self.lock_call()?;
        let value = self.with_remote(&call, sk, option, |remote| read(remote, option, MAX_LEN))?;
        let number = value.first_chunk().copied().ok_or(EPROTO)?;
        Ok(u32::from_le_bytes(number))
    }
}

/// Copies the value of an option to the program.
fn give(option: &SockOpt, value: &[u8], out: OptionOut<'_>) -> Result {
    let len = option.program_len(value, out.len());
    out.put(value.get(..len).unwrap_or(value))
}

/// Reads an option, up to `room` bytes.
fn read(remote: &RemoteSocket, option: &SockOpt, room: usize) -> Result<KVec<u8>> {
    let call = |offset| Call::GetSockOpt {
        id: remote.id,
        level: option.level,
        name: option.name,
        offset,
    };
    let first = piece(remote.send_and_wait(call(0))?)?;
    let pieces = Pieces::new(option, &first, room).ok_or(EPROTO)?;
    let mut value = KVec::new();
    value.extend_from_slice(pieces.bytes(&first, 0).ok_or(EPROTO)?, GFP_KERNEL)?;

    // Ask for the other pieces at once.
    let mut rest = KVec::new();
    for offset in pieces.offsets() {
        rest.push((offset, remote.send(call(offset))?), GFP_KERNEL)?;
    }
    for (offset, exchange) in &rest {
        let piece = piece(exchange.wait()?)?;
        let bytes = pieces.bytes(&piece, *offset).ok_or(EPROTO)?;
        value.extend_from_slice(bytes, GFP_KERNEL)?;
    }
    Ok(value)
}

fn piece(response: Response) -> Result<Piece> {
    match response.body {
        Body::Value(piece) => Ok(piece),
        _ => Err(EPROTO),
    }
}
