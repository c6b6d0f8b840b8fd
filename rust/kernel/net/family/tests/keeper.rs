// SPDX-License-Identifier: GPL-2.0

//! A family for the tests, with options of its own.

use super::{
    super::{
        Accepted,
        Child,
        Name,
        Ops,
        TypedSock, //
    },
    SO_REUSEPORT, //
};

use crate::{
    module::{
        ModuleMetadata,
        ThisModule, //
    },
    net::{
        namespace::Namespace,
        sock::{
            Sock,
            TcpState, //
        },
        socket::Socket,
        sockopt::{
            OptionIn,
            OptionOut,
            SOL_SOCKET, //
        }, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use core::net::{
    Ipv4Addr,
    SocketAddr, //
};

/// A family that stores options, and whose listening sockets always have a connection.
pub(super) struct Keeper;

/// The data of a socket.
pub(super) struct Kept {
    number: Atomic<i32>,
    bytes: Atomic<u64>,
    pub(super) seen: Atomic<i32>,
}

impl Kept {
    fn new(number: i32) -> impl PinInit<Self, Error> {
        try_init!(Self {
            number: Atomic::new(number),
            bytes: Atomic::new(0),
            seen: Atomic::new(0),
        })
    }
}

/// The module that these tests are part of: the kernel itself.
pub(super) struct BuiltIn;

impl ModuleMetadata for BuiltIn {
    const NAME: &'static CStr = c"socket_family_kunit";

    // SAFETY: `THIS_MODULE` is null in built-in code.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}

crate::socket_proto!(Keeper, Keeper, c"KEEPER");

/// A level of the family, and its options.
pub(super) const SOL_KEEPER: i32 = 1000;
pub(super) const NUMBER: i32 = 1;
pub(super) const BYTES: i32 = 2;
pub(super) const NAME: i32 = 3;

#[vtable]
impl Ops for Keeper {
    // AF_ECONET, of which Linux has kept only the number.
    const FAMILY: i32 = 19;
    const CUSTOM_SOL_SOCKET: bool = true;
    type Head = Sock;
    type Data = Kept;
    type Proto = Self;
    type OwnerModule = BuiltIn;

    fn create(_: &Namespace, _: i32, _: i32) -> Result<impl PinInit<Kept, Error>> {
        Ok(Kept::new(0))
    }

    fn release(_sk: &TypedSock<Keeper>) {}

    fn listen(_: &Socket, sk: &TypedSock<Keeper>, backlog: u32) -> Result {
        sk.set_max_ack_backlog(backlog);
        sk.set_state(TcpState::Listen);
        Ok(())
    }

    fn accept(_: &Socket, sk: &TypedSock<Keeper>, _nonblock: bool) -> Result<Accepted<Self>> {
        let child = Child::new(sk, Kept::new(sk.data().number.load(Relaxed)))?;
        child.set_state(TcpState::Established);
        Ok(Accepted::Child(child))
    }

    fn getname(_sk: &TypedSock<Keeper>, name: Name) -> Result<SocketAddr> {
        let port = match name {
            Name::Local => 1,
            Name::Peer => return Err(ENOTCONN),
            Name::LastPeer => 2,
        };
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn setsockopt(
        socket: &Socket,
        sk: &TypedSock<Keeper>,
        level: i32,
        name: i32,
        value: &OptionIn<'_>,
    ) -> Result {
        match (level, name) {
            (SOL_SOCKET, SO_REUSEPORT) => {
                let on = value.read_int()? != 0;
                sk.lock().set_reuse_port(on);
                Ok(())
            }
            (SOL_SOCKET, _) => {
                sk.data().seen.store(name, Relaxed);
                socket.set_option(name, value)
            }
            (SOL_KEEPER, NUMBER) => {
                sk.data().number.store(value.read_int()?, Relaxed);
                Ok(())
            }
            (SOL_KEEPER, BYTES) => {
                let bytes = u64::from_ne_bytes(value.read()?);
                sk.data().bytes.store(bytes, Relaxed);
                Ok(())
            }
            _ => Err(ENOPROTOOPT),
        }
    }

    fn getsockopt(
        _socket: &Socket,
        sk: &TypedSock<Keeper>,
        level: i32,
        name: i32,
        value: OptionOut<'_>,
    ) -> Result {
        match (level, name) {
            (SOL_KEEPER, NUMBER) => value.put(&sk.data().number.load(Relaxed).to_ne_bytes()),
            (SOL_KEEPER, BYTES) if value.len() < size_of::<u64>() => Err(EINVAL),
            (SOL_KEEPER, BYTES) => value.put(&sk.data().bytes.load(Relaxed).to_ne_bytes()),
            (SOL_KEEPER, NAME) => value.put(b"keeper\0"),
            _ => Err(ENOPROTOOPT),
        }
    }
}
