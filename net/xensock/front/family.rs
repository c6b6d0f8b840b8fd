// SPDX-License-Identifier: GPL-2.0

//! The address families of the sockets, and the sockets themselves.

mod address_family;

pub(crate) use address_family::{
    AddressFamily,
    Inet,
    Inet6, //
};

use crate::{
    datagram::Datagram,
    endpoint::Endpoint,
    proto::{
        call,
        rule::route::DeviceName, //
    },
    stream::{
        AcceptedSocket,
        Stream, //
    },
    survivors::Survivor, //
};
use address_family::AfXenSock;
use core::marker::PhantomData;
use kernel::{
    net::{
        addr::Domain,
        family::{
            Child,
            Registration,
            TypedSock, //
        },
        sock::Sock, //
    },
    prelude::*, //
};

/// The number of the protocol under AF_INET and AF_INET6, see `include/uapi/linux/in.h`.
pub(crate) const IPPROTO_XENSOCK: u16 = 257;

/// The number of TCP as programs pass it.
// CAST: A small constant.
pub(crate) const IPPROTO_TCP: i32 = call::IPPROTO_TCP as i32;

/// The number of UDP as programs pass it.
// CAST: A small constant.
pub(crate) const IPPROTO_UDP: i32 = call::IPPROTO_UDP as i32;

/// The sockets of an address family.
pub(crate) struct Family<F>(PhantomData<F>);

/// All families. Dropped when no socket of them is left.
pub(crate) struct Families {
    _xensock: Registration<Family<AfXenSock>>,
    _inet: Registration<Family<Inet>>,
    #[cfg(CONFIG_IPV6)]
    _inet6: Registration<Family<Inet6>>,
}

impl Families {
    /// Allows programs to create sockets.
    pub(crate) fn new() -> Result<Self> {
        // First all that may lack memory: a program may have a socket of one family before there is
        // the next, and the code of a module that cannot be initialised is freed under it.
        let xensock = Registration::prepare()?;
        let inet = Registration::prepare()?;
        #[cfg(CONFIG_IPV6)]
        let inet6 = Registration::prepare()?;
        Ok(Self {
            // The number that another family may have comes first.
            _xensock: xensock.register()?,
            _inet: inet.register()?,
            #[cfg(CONFIG_IPV6)]
            _inet6: inet6.register()?,
        })
    }
}

/// A stream or a datagram socket.
pub(crate) enum AnySocket {
    Stream(Pin<KBox<Stream>>),
    Datagram(Pin<KBox<Datagram>>),
}

impl AnySocket {
    /// Creates a stream.
    pub(crate) fn stream(domain: Option<Domain>, owner: u64) -> Result<Self> {
        Ok(Self::Stream(KBox::pin_init(
            Stream::new(domain, owner),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    /// Creates a datagram socket.
    pub(crate) fn datagram(domain: Option<Domain>, owner: u64) -> Result<Self> {
        Ok(Self::Datagram(KBox::pin_init(
            Datagram::new(domain, owner),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Stream(stream) => &stream.endpoint,
            Self::Datagram(datagram) => &datagram.endpoint,
        }
    }
}

impl Survivor for AnySocket {
    fn is_lost(&self) -> bool {
        self.endpoint().is_lost()
    }

    fn set_lost(&self) {
        self.endpoint().set_lost();
    }

    fn set_found(&self) {
        self.endpoint().set_found();
    }

    fn device(&self, sk: &Sock) -> Option<DeviceName> {
        let link = match self {
            Self::Stream(stream) => stream.next_link(sk),
            Self::Datagram(datagram) => datagram.next_link(sk),
        };
        link.ok().map(|link| link.name)
    }

    fn revive(&self, sk: &Sock, is_new: bool) -> bool {
        match self {
            Self::Stream(stream) => stream.revive(sk, is_new),
            Self::Datagram(datagram) => datagram.revive(sk, is_new),
        }
    }
}

impl<F: AddressFamily> AcceptedSocket for Child<Family<F>> {
    fn stream(&self) -> Result<(&Sock, &Stream)> {
        match self.data().get_ref() {
            AnySocket::Stream(stream) => Ok((self, stream)),
            AnySocket::Datagram(_) => Err(EINVAL),
        }
    }
}

/// Returns the stream or datagram socket of a `struct sock`, if it belongs to one of the families.
fn socket_of(sk: &Sock) -> Option<&AnySocket> {
    fn of<F: AddressFamily>(sk: &Sock) -> Option<&AnySocket> {
        Sk::<F>::of(sk).map(|sk| sk.data().get_ref())
    }
    of::<AfXenSock>(sk)
        .or_else(|| of::<Inet>(sk))
        .or_else(|| of::<Inet6>(sk))
}

/// A socket of an address family.
pub(crate) type Sk<F> = TypedSock<Family<F>>;

/// Returns the survivor of a socket, if it belongs to one of the families.
pub(crate) fn survivor(sk: &Sock) -> Option<&dyn Survivor> {
    socket_of(sk).map(|socket| socket as &dyn Survivor)
}
