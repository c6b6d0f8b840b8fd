// SPDX-License-Identifier: GPL-2.0

//! The options of a guest's socket.

use super::{
    Carried,
    GuestSocket, //
};
use crate::{
    memory::Usual,
    proto::{
        option::{
            self,
            Kind,
            SockOpt,
            SOL_XS,
            XS_RCVBUF,
            XS_SNDBUF, //
        },
        rule::IpProtocol,
        value::{
            Piece,
            Value,
            INT_LEN,
            MAX_LEN,
            NAME_LEN, //
        }, //
    }, //
};
use kernel::{
    net::sockopt::SOL_SOCKET,
    prelude::*,
    sync::atomic::Relaxed, //
};

/// Linux's options that are set in place of the frontend's.
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_REUSEPORT: i32 = option::SO_REUSEPORT as i32;

/// The option that limits the ports for automatic binding.
const IP_LOCAL_PORT_RANGE: u32 = 51;

/// The option that limits the receive window.
const TCP_WINDOW_CLAMP: u32 = 10;

/// The value of an option when the guest began to read it.
pub(super) struct Snapshot {
    level: u32,
    name: u32,
    value: KVec<u8>,
}

impl<P: Carried> GuestSocket<P> {
    /// Sets an option, if guests may.
    pub(crate) fn set_option(&self, level: u32, name: u32, value: &Value) -> Result {
        let option = option::may_set(level, name, value).map_err(from_number)?;
        self.check_has(option)?;
        if P::TRANSPORT == IpProtocol::Udp && level == option::SOL_SOCKET {
            if let option::SO_REUSEADDR | option::SO_REUSEPORT = name {
                return self.share_port(name, value.to_int() == Some(1));
            }
        }
        let mut number = value.to_int();
        if let (SOL_XS, XS_SNDBUF | XS_RCVBUF, Some(size)) = (level, name, number) {
            return self.set_buffer_size(name, size);
        }
        if (level, name) == (option::SOL_IP, IP_LOCAL_PORT_RANGE) {
            number = number.map(|range| self.narrow(range));
        }
        // Numbers on the wire are little endian.
        let number = number.map(i32::to_ne_bytes);
        let value = match &number {
            Some(number) if option.is_number() => number,
            _ => value.as_bytes(),
        };
        let linux = (i32::try_from(level)?, i32::try_from(name)?);
        let set = || self.inner.set_option(linux.0, linux.1, value);
        if (level, name) == (option::SOL_TCP, TCP_WINDOW_CLAMP) {
            self.memory
                .change_limit(set, |usual| usual.window = P::window_limit(&self.inner))?;
        } else {
            set()?;
        }
        if option.is_for_info() && self.has_info {
            self.wants_info.store(true, Relaxed);
        }
        if option.is_for_reports() {
            self.wants_reports.store(true, Relaxed);
        }
        Ok(())
    }

    /// Sets the size of a buffer.
    fn set_buffer_size(&self, name: u32, size: i32) -> Result {
        let set = |name, size: i32| self.inner.set_option(SOL_SOCKET, name, &size.to_ne_bytes());
        if name == XS_SNDBUF {
            let note = |usual: &mut Usual| usual.sizes.sent = self.inner.buffer_sizes().sent;
            self.memory.change_limit(|| set(SO_SNDBUF, size), note)?;
        } else {
            let chosen = match P::TRANSPORT {
                IpProtocol::Tcp => self.memory.received_size(size),
                IpProtocol::Udp => Some(size),
            };
            let Some(size) = chosen else {
                return Ok(());
            };
            let note =
                |usual: &mut Usual| usual.sizes.received = self.inner.buffer_sizes().received;
            self.memory.change_limit(|| set(SO_RCVBUF, size), note)?;
            self.memory.note_fixed();
        }
        P::update_memory(self);
        Ok(())
    }

    /// Sets one of the two options by which a datagram socket shares its port with other sockets of
    /// its owner. `SO_REUSEPORT` stands for both in UDP, whose `SO_REUSEADDR` would share the port
    /// with every user that has set it.
    fn share_port(&self, name: u32, on: bool) -> Result {
        let mut reuse = self.reuse.lock();
        match name {
            option::SO_REUSEADDR => reuse.addr = on,
            _ => reuse.port = on,
        }
        let on = i32::from(reuse.addr || reuse.port).to_ne_bytes();
        self.inner.set_option(SOL_SOCKET, SO_REUSEPORT, &on)
    }

    /// Limits a port range, in the form of the option, to the ports of the guest.
    fn narrow(&self, range: i32) -> i32 {
        let Some((first, last)) = self.policy.local_ports() else {
            return range;
        };
        // CAST: The bits remain the same; the halves are the first port and the last.
        let (low, high) = (range as u32 as u16, (range as u32 >> 16) as u16);
        let port = |port: u16, none| match port {
            0 => none,
            port => port.clamp(first, last.max(first)),
        };
        (u32::from(port(high, last)) << 16 | u32::from(port(low, first))) as i32
    }

    /// Reads the piece of an option that begins at `offset`, if guests may.
    ///
    /// At offset 0 this reads the option, and `amend` may change the value. Later pieces come from
    /// that value.
    pub(crate) fn amended_option(
        &self,
        level: u32,
        name: u32,
        offset: u32,
        amend: impl FnOnce(&SockOpt, &mut [u8]),
    ) -> Result<Piece> {
        let option = option::may_get(level, name).map_err(from_number)?;
        self.check_has(option)?;
        let mut snapshot = self.snapshot.lock();
        if offset == 0 {
            // Freed before another one is allocated.
            *snapshot = None;
            let mut value = self.read(option)?;
            amend(option, &mut value);
            let piece = Piece::of(&value, 0).ok_or(EINVAL);
            if value.len() > MAX_LEN {
                *snapshot = Some(Snapshot { level, name, value });
            }
            return piece;
        }
        match &*snapshot {
            Some(kept) if (kept.level, kept.name) == (level, name) => {
                Piece::of(&kept.value, offset).ok_or(EINVAL)
            }
            _ => Err(EINVAL),
        }
    }

    /// Checks that this type of socket has the option. Linux itself checks the family.
    pub(super) fn check_has(&self, option: &SockOpt) -> Result {
        let is_other = match P::TRANSPORT {
            IpProtocol::Tcp => option.needs_datagrams() || option.is_for_reports(),
            IpProtocol::Udp => {
                option.needs_stream()
                    || option.is_for_headers()
                    || (option.needs_info() && !self.has_info)
            }
        };
        if is_other {
            return Err(ENOPROTOOPT);
        }
        Ok(())
    }

    /// Reads an option in its form on the wire.
    fn read(&self, option: &SockOpt) -> Result<KVec<u8>> {
        let mut value = KVec::new();
        if option.level == SOL_XS {
            let unacked = u32::try_from(P::unacked_bytes(&self.inner))?;
            value.extend_from_slice(&unacked.to_le_bytes(), GFP_KERNEL)?;
            return Ok(value);
        }
        let room = match option.kind {
            Kind::Flag | Kind::Int { .. } | Kind::AnyInt => INT_LEN,
            Kind::Name => NAME_LEN,
            Kind::Group => return Err(ENOPROTOOPT),
            Kind::Struct(max) => max as usize,
        };
        value.resize(room, 0, GFP_KERNEL)?;
        let len = self.inner.get_option(
            i32::try_from(option.level)?,
            i32::try_from(option.name)?,
            &mut value,
        )?;
        value.truncate(len);
        option.hide_interfaces(&mut value);
        if let (true, Ok(number)) = (option.is_number(), <[u8; INT_LEN]>::try_from(&*value)) {
            value.copy_from_slice(&i32::from_ne_bytes(number).to_le_bytes());
        }
        Ok(value)
    }
}

/// Converts a positive error number of the protocol.
pub(crate) fn from_number(number: i32) -> Error {
    Error::from_errno(-number)
}
