// SPDX-License-Identifier: GPL-2.0

//! The options of sockets: those that the backend has to know, and those that it need not.

use super::{
    Endpoint,
    State,
    Turn, //
};
use crate::{
    proto::{
        call::SOCK_DGRAM,
        option::{
            self,
            Kind,
            SockOpt,
            INFO_WAITING,
            SOL_TCP,
            SO_BROADCAST,
            SO_KEEPALIVE,
            SO_REUSEADDR,
            SO_REUSEPORT,
            TCP_INFO,
            TCP_NOTSENT_LOWAT,
            XS_OUTQ,
            XS_RCVBUF,
            XS_SNDBUF, //
        },
        pieces::Pieces,
        value::{
            Piece,
            Value,
            MAX_LEN, //
        },
        Body,
        Call,
        Dialect,
        Response, //
    },
    remote::Remote,
    setting::Settings,
    wire_error,
    LINK, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::{
            Sock,
            SockFlag, //
        },
        socket::Socket,
        sockopt::{
            OptionIn,
            OptionOut, //
        },
    },
    prelude::*, //
};

/// What a program asks for before it sends with MSG_ZEROCOPY. It is no matter of the backend's.
const SO_ZEROCOPY: u32 = 60;

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
        if self.domain.is_some() && self.kind == SOCK_DGRAM && is_recv_err(level, name) {
            // Resolvers give up without it. There is no queue of errors, and so nothing in it.
            return given.read_int().map(drop);
        }
        let mut bytes = [0; MAX_LEN];
        let len = given.read_prefix(&mut bytes)?;
        let given = bytes.get(..len).unwrap_or(&bytes);
        let (option, value) = option::to_set(level, name, given).map_err(wire_error)?;
        self.carry(option, value)?;
        if let (SOL_TCP, TCP_NOTSENT_LOWAT, Some(conn)) = (level, name, self.conn()) {
            conn.set_not_sent_lowat(self.not_sent_lowat());
            // There may be room now.
            sk.write_space();
        }
        Ok(())
    }

    /// What TCP_NOTSENT_LOWAT was set to, or 0.
    pub(crate) fn not_sent_lowat(&self) -> u32 {
        let settings = self.inner.lock().settings.clone();
        let option = option::to_get(SOL_TCP, TCP_NOTSENT_LOWAT).ok();
        let value = settings.and_then(|settings| settings.get(option?));
        // CAST: As TCP takes it: a negative number is a large one.
        value.and_then(|value| value.to_int()).unwrap_or(0) as u32
    }

    /// An option of `SOL_SOCKET`: the kernel keeps what it is set to.
    fn set_socket_option(
        &self,
        socket: &Socket,
        sk: &Sock,
        name: u32,
        given: &OptionIn<'_>,
    ) -> Result {
        if name == SO_ZEROCOPY {
            return set_zerocopy(sk, given);
        }
        let is_carried = match name {
            SO_REUSEADDR | SO_KEEPALIVE | SO_REUSEPORT => true,
            SO_BROADCAST => self.kind == SOCK_DGRAM,
            _ => false,
        };
        if !is_carried {
            socket.set_option(name as i32, given)?;
            self.tell_buffer(sk, name);
            return Ok(());
        }
        // The program may change what it has given: this is what counts for both ends.
        let on = given.read_int()? != 0;
        let given = i32::from(on).to_ne_bytes();
        let (option, value) =
            option::to_set(option::SOL_SOCKET, name, &given).map_err(wire_error)?;
        match self.carry(option, value) {
            Ok(()) => (),
            // PV Calls cannot say it. Programs do without, but not without a port that they share.
            Err(ENOPROTOOPT) if name != SO_REUSEPORT || !on => self.set_beside(option, &value),
            Err(error) => return Err(error),
        }
        if name == SO_REUSEPORT {
            // The kernel does this for internet sockets only.
            sk.lock().set_reuse_port(on);
            return Ok(());
        }
        socket.set_option(name as i32, &OptionIn::new(&given))
    }

    /// Tells the backend how large a buffer of a stream is to be, if that is what was set. One that
    /// does not know it does without.
    fn tell_buffer(&self, sk: &Sock, name: u32) {
        const SO_SNDBUF: u32 = 7;
        const SO_RCVBUF: u32 = 8;
        const SO_SNDBUFFORCE: u32 = 32;
        const SO_RCVBUFFORCE: u32 = 33;
        let (name, size) = match name {
            SO_SNDBUF | SO_SNDBUFFORCE => (XS_SNDBUF, sk.snd_buf_asked()),
            SO_RCVBUF | SO_RCVBUFFORCE => (XS_RCVBUF, sk.rcv_buf_asked()),
            _ => return,
        };
        let value =
            Value::int(size.map_or(i32::MAX, |size| i32::try_from(size).unwrap_or(i32::MAX)));
        if let Ok(option) = option::may_set(option::SOL_XS, name, &value) {
            let _ = self.carry(option, value);
        }
    }

    /// Has the backend set an option, and notes it for sockets that come after.
    fn carry(&self, option: &SockOpt, value: Value) -> Result {
        let turn = self.turn()?;
        let old = self.inner.lock().settings.clone();
        let settings = Settings::with(old.as_deref(), option, value)?;

        if option.needs_ipv6() && self.domain == Some(Domain::Inet) {
            return Err(ENOPROTOOPT);
        }
        if option.needs_stream() && self.kind == SOCK_DGRAM {
            return Err(ENOPROTOOPT);
        }
        if self.may_wait(option) {
            let old = self.inner.lock().settings.replace(settings);
            drop(old);
            return Ok(());
        }
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
        self.set_beside(option, &value);
        let old = self.inner.lock().settings.replace(settings);
        drop(old);
        Ok(())
    }

    /// Sets an option for what listens in the guest itself, if anything does.
    fn set_beside(&self, option: &SockOpt, value: &Value) {
        let listener = self.listener();
        if let Some(local) = listener.as_ref().and_then(|l| l.local.as_ref()) {
            local.set_option(option, value);
        }
    }

    /// Whether nobody need hear of an option before the socket is put to use, if it ever is the
    /// backend's: one that no backend of ours refuses if it is in its range.
    fn may_wait(&self, option: &SockOpt) -> bool {
        let is_unused = matches!(self.inner.lock().state, State::Idle(None));
        let is_certain = !matches!(option.kind, Kind::Name);
        is_unused
            && self.domain.is_some()
            && LINK
                .get()
                .is_none_or(|link| is_certain && link.dialect == Dialect::XenSock)
    }

    /// `getsockopt()`.
    pub(crate) fn get_option(&self, level: i32, name: i32, out: OptionOut<'_>) -> Result {
        let (level, name) = numbers(level, name)?;
        let option = option::to_get(level, name).map_err(wire_error)?;
        let room = out.len();
        let turn = self.turn()?;
        let mut value = match self.with_remote(&turn, option, |remote| read(remote, option, room)) {
            // As above: what is known is what the program has set. Without a backend likewise; a
            // flag that nobody has set is not set.
            Err(error @ (EBADF | ENETDOWN)) => {
                let settings = self.inner.lock().settings.clone();
                let unset = match (error, option.kind) {
                    (EBADF, _) => Err(ENOTCONN),
                    (_, Kind::Flag) if self.domain.is_some() => Ok(Value::int(0)),
                    _ => Err(error),
                };
                let value = settings.and_then(|s| s.get(option)).map_or(unset, Ok)?;
                let mut bytes = KVec::new();
                bytes.extend_from_slice(value.as_bytes(), GFP_KERNEL)?;
                bytes
            }
            value => value?,
        };
        if let Some(listener) = self
            .listener()
            .filter(|_| (level, name) == (SOL_TCP, TCP_INFO))
        {
            // Those that the backend has handed over wait all the same.
            let handed_over = u32::try_from(listener.waiting())?;
            option::change_info(&mut value, INFO_WAITING, |n| n.saturating_add(handed_over));
        }
        let len = option.program_len(&value, room);
        out.put(value.get(..len).unwrap_or(&value))
    }

    /// How many bytes the backend has taken and the peer has not acknowledged.
    pub(crate) fn sent_not_acknowledged(&self) -> Result<u32> {
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
        if option.needs_stream() && self.kind == SOCK_DGRAM {
            return Err(ENOPROTOOPT);
        }
        let result = if let Some(conn) = self.conn() {
            conn.settle()?;
            ask(&conn.remote)
        } else if let Some(listener) = self.listener() {
            ask(&listener.remote)
        } else {
            if option.needs_ipv6() && self.domain == Some(Domain::Inet) {
                return Err(ENOPROTOOPT);
            }
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

/// Has MSG_ZEROCOPY answered, or not. The kernel does this for protocols that it knows.
fn set_zerocopy(sk: &Sock, given: &OptionIn<'_>) -> Result {
    match given.read_int()? {
        0 => sk.lock().reset_flag(SockFlag::ZeroCopy),
        1 => sk.lock().set_flag(SockFlag::ZeroCopy),
        _ => return Err(EINVAL),
    }
    Ok(())
}

/// Whether it is the option that has errors queued, besides being returned.
fn is_recv_err(level: u32, name: u32) -> bool {
    const IP_RECVERR: u32 = 11;
    const IPV6_RECVERR: u32 = 25;
    matches!(
        (level, name),
        (option::SOL_IP, IP_RECVERR) | (option::SOL_IPV6, IPV6_RECVERR)
    )
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
    let pieces = Pieces::new(option, &first, room).ok_or(EPROTO)?;
    let mut value = KVec::new();
    value.extend_from_slice(pieces.bytes(&first, 0).ok_or(EPROTO)?, GFP_KERNEL)?;

    // The rest, in one go.
    let mut rest = KVec::new();
    for offset in pieces.offsets() {
        rest.push((offset, remote.send(call(offset))?), GFP_KERNEL)?;
    }
    for (offset, asked) in &rest {
        let piece = piece(asked.wait()?)?;
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
