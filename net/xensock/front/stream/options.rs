// SPDX-License-Identifier: GPL-2.0

//! The options of sockets: those that the backend has to know, and those that it need not.

use super::{
    turn::Turn,
    Stream, //
};
use crate::{
    proto::{
        option::{
            self,
            SockOpt,
            SO_KEEPALIVE,
            SO_REUSEADDR,
            SO_REUSEPORT,
            XS_OUTQ, //
        },
        value::{
            Piece,
            Value,
            MAX_LEN, //
        },
        Body,
        Call,
        Response, //
    },
    remote::Remote,
    setting::Settings,
    wire_error, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::Sock,
        socket::Socket,
        sockopt::{
            OptionIn,
            OptionOut, //
        },
    },
    prelude::*, //
};

impl Stream {
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
        let mut bytes = [0; MAX_LEN];
        let len = given.read_prefix(&mut bytes)?;
        let given = bytes.get(..len).unwrap_or(&bytes);
        let (option, value) = option::to_set(level, name, given).map_err(wire_error)?;
        self.carry(option, value)
    }

    /// An option of `SOL_SOCKET`: the kernel keeps what it is set to.
    fn set_socket_option(
        &self,
        socket: &Socket,
        sk: &Sock,
        name: u32,
        given: &OptionIn<'_>,
    ) -> Result {
        match name {
            SO_REUSEADDR | SO_KEEPALIVE => {
                let on = given.read_int()? != 0;
                socket.set_option(name as i32, given)?;
                match self.carry_flag(name, on) {
                    // PV Calls cannot say it, and programs do without.
                    Err(ENOPROTOOPT) => Ok(()),
                    result => result,
                }
            }
            SO_REUSEPORT => {
                let on = given.read_int()? != 0;
                self.carry_flag(name, on)?;
                // The kernel does this for internet sockets only.
                sk.lock().set_reuse_port(on);
                Ok(())
            }
            name => socket.set_option(name as i32, given),
        }
    }

    fn carry_flag(&self, name: u32, on: bool) -> Result {
        let given = i32::from(on).to_ne_bytes();
        let (option, value) =
            option::to_set(option::SOL_SOCKET, name, &given).map_err(wire_error)?;
        self.carry(option, value)
    }

    /// Has the backend set an option, and notes it for sockets that come after.
    fn carry(&self, option: &SockOpt, value: Value) -> Result {
        let turn = self.turn()?;
        let old = self.inner.lock().settings.clone();
        let settings = Settings::with(old.as_deref(), option, value)?;

        let result = self.with_remote(&turn, option, |remote| {
            remote.ask(Call::SetSockOpt {
                id: remote.id,
                level: option.level,
                name: option.name,
                value,
            })
        });
        match result {
            // Of an attempt to connect that has failed, the backend has no socket. The next has it.
            Ok(_) | Err(EBADF) => (),
            Err(error) => return Err(error),
        }
        let old = self.inner.lock().settings.replace(settings);
        drop(old);
        Ok(())
    }

    /// `getsockopt()`.
    pub(crate) fn get_option(&self, level: i32, name: i32, out: OptionOut<'_>) -> Result {
        let (level, name) = numbers(level, name)?;
        let option = option::to_get(level, name).map_err(wire_error)?;
        let room = out.len();
        let turn = self.turn()?;
        let value = match self.with_remote(&turn, option, |remote| read(remote, option, room)) {
            // As above: what is known is what the program has set.
            Err(EBADF) => {
                let settings = self.inner.lock().settings.clone();
                let value = settings.and_then(|s| s.get(option)).ok_or(ENOTCONN)?;
                let mut bytes = KVec::new();
                bytes.extend_from_slice(value.as_bytes(), GFP_KERNEL)?;
                bytes
            }
            value => value?,
        };
        let len = option.program_len(&value, room);
        out.put(value.get(..len).unwrap_or(&value))
    }

    /// How many bytes the backend has taken and the peer has not acknowledged.
    pub(super) fn sent_not_acknowledged(&self) -> Result<u32> {
        let option = option::may_get(option::SOL_XS, XS_OUTQ).map_err(wire_error)?;
        let turn = self.turn()?;
        let value = self.with_remote(&turn, option, |remote| read(remote, option, MAX_LEN))?;
        let number = value.first_chunk().copied().ok_or(EPROTO)?;
        Ok(u32::from_le_bytes(number))
    }

    /// Does something with the socket that the backend has for this one, or has to make for it.
    fn with_remote<T>(
        &self,
        turn: &Turn<'_>,
        option: &SockOpt,
        ask: impl FnOnce(&Remote) -> Result<T>,
    ) -> Result<T> {
        let result = if let Some(conn) = self.conn() {
            ask(&conn.remote)
        } else if let Some(listener) = self.listener() {
            ask(&listener.remote)
        } else {
            let domain = option.needs_ipv6().then_some(Domain::Inet6);
            self.take_remote(turn, domain).and_then(|remote| {
                let result = ask(&remote);
                match &result {
                    Ok(_) => self.keep(turn, remote),
                    Err(error) => self.keep_after(turn, remote, *error),
                }
                result
            })
        };
        result.map_err(|error| match error {
            // The link has no options, or no IPv6, or the socket has an address of IPv4.
            EOPNOTSUPP | EAFNOSUPPORT => ENOPROTOOPT,
            error => error,
        })
    }
}

/// Level and name of an option, as they go on the wire.
fn numbers(level: i32, name: i32) -> Result<(u32, u32)> {
    let number = |n: i32| u32::try_from(n).map_err(|_| ENOPROTOOPT);
    Ok((number(level)?, number(name)?))
}

/// Reads an option, as far as there is room for it.
fn read(remote: &Remote, option: &SockOpt, room: usize) -> Result<KVec<u8>> {
    let call = |offset| Call::GetSockOpt {
        id: remote.id,
        level: option.level,
        name: option.name,
        offset,
    };
    let first = piece(remote.ask(call(0))?)?;
    if !option.has_len(first.total) {
        return Err(EPROTO);
    }
    let mut value = KVec::new();
    value.extend_from_slice(first.at(0), GFP_KERNEL)?;

    // The rest, in one go.
    let wanted = first.total.min(u32::try_from(room).unwrap_or(u32::MAX));
    let mut rest = KVec::new();
    for offset in (0..wanted).step_by(MAX_LEN).skip(1) {
        rest.push((offset, remote.send(call(offset))?), GFP_KERNEL)?;
    }
    for (offset, asked) in &rest {
        let piece = piece(asked.wait()?)?;
        if piece.total != first.total {
            return Err(EPROTO);
        }
        value.extend_from_slice(piece.at(*offset), GFP_KERNEL)?;
    }
    Ok(value)
}

fn piece(response: Response) -> Result<Piece> {
    match response.body {
        Body::Value(piece) => Ok(piece),
        _ => Err(EPROTO),
    }
}
