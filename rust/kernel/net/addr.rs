// SPDX-License-Identifier: GPL-2.0

//! Socket addresses.
//!
//! C's `struct sockaddr` is a common prefix of `struct sockaddr_in`, `struct sockaddr_in6` and
//! others, which are told apart by their first two bytes. Rust code uses [`SocketAddr`] for the
//! internet families, [`RawAddr`] for an unparsed address from a program, and [`SockAddrBuf`] for
//! an address to pass to C code.
//!
//! Everything in this module may be used from any context.
//!
//! C headers: [`include/linux/socket.h`](srctree/include/linux/socket.h),
//! [`include/linux/in.h`](srctree/include/linux/in.h),
//! [`include/linux/in6.h`](srctree/include/linux/in6.h)

use crate::{
    bindings,
    prelude::*, //
};

use core::{
    mem::offset_of,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr,
        SocketAddr,
        SocketAddrV4,
        SocketAddrV6, //
    },
};

/// `AF_UNSPEC`: no family. As the destination of connect(2), it dissolves the association.
pub const AF_UNSPEC: u16 = bindings::AF_UNSPEC as u16;

/// `AF_INET`: IPv4.
pub const AF_INET: u16 = bindings::AF_INET as u16;

/// `AF_INET6`: IPv6.
pub const AF_INET6: u16 = bindings::AF_INET6 as u16;

const SOCKADDR_IN_LEN: usize = size_of::<bindings::sockaddr_in>();
const SOCKADDR_IN6_LEN: usize = size_of::<bindings::sockaddr_in6>();

// Size of `struct sockaddr_in6` according to RFC 2133, without the scope. The kernel still accepts
// it.
const SIN6_LEN_RFC2133: usize = 24;

// The offsets of the members that this module reads and writes.
static_assert!(SOCKADDR_IN_LEN == 16);
static_assert!(SOCKADDR_IN6_LEN == 28);
static_assert!(offset_of!(bindings::sockaddr_in, sin_family) == 0);
static_assert!(offset_of!(bindings::sockaddr_in, sin_port) == 2);
static_assert!(offset_of!(bindings::sockaddr_in, sin_addr) == 4);
static_assert!(offset_of!(bindings::sockaddr_in6, sin6_family) == 0);
static_assert!(offset_of!(bindings::sockaddr_in6, sin6_port) == 2);
static_assert!(offset_of!(bindings::sockaddr_in6, sin6_flowinfo) == 4);
static_assert!(offset_of!(bindings::sockaddr_in6, sin6_addr) == 8);
static_assert!(offset_of!(bindings::sockaddr_in6, sin6_scope_id) == 24);

/// An internet address family.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Domain {
    /// IPv4.
    Inet = AF_INET,
    /// IPv6.
    Inet6 = AF_INET6,
}

impl From<&SocketAddr> for Domain {
    #[inline]
    fn from(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(_) => Domain::Inet,
            SocketAddr::V6(_) => Domain::Inet6,
        }
    }
}

/// The bytes of a `struct sockaddr` of unknown family, as passed by a program.
///
/// # Examples
///
/// ```
/// use kernel::net::addr::{
///     RawAddr,
///     SockAddrBuf,
///     AF_INET, //
/// };
/// use core::net::SocketAddr;
///
/// let addr: SocketAddr = "192.0.2.1:80".parse().unwrap();
/// let buf = SockAddrBuf::from(addr);
/// let raw = RawAddr::new(buf.as_bytes());
///
/// assert_eq!(raw.family(), Some(AF_INET));
/// assert_eq!(raw.parse(), Ok(addr));
/// assert_eq!(RawAddr::new(&buf.as_bytes()[..15]).parse(), Err(EINVAL));
/// assert_eq!(RawAddr::new(&[0; 16]).parse(), Err(EAFNOSUPPORT));
/// ```
#[derive(Copy, Clone)]
pub struct RawAddr<'a>(&'a [u8]);

impl<'a> RawAddr<'a> {
    /// Creates an unparsed address from its bytes.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Borrows an address from C code.
    ///
    /// # Errors
    ///
    /// Returns `EINVAL` if no address can have that length.
    ///
    /// # Safety
    ///
    /// If `len` is neither negative nor more than the size of `struct sockaddr_storage`, the first
    /// `len` bytes at `addr` must be initialised, and must not be written to, for the duration of
    /// `'a`.
    pub(crate) unsafe fn from_raw(addr: *const u8, len: c_int) -> Result<Self> {
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        if len > size_of::<bindings::__kernel_sockaddr_storage>() {
            return Err(EINVAL);
        }
        if len == 0 || addr.is_null() {
            return Ok(Self(&[]));
        }
        // SAFETY: The pointer is not null, and by the safety requirements the bytes are readable,
        // initialised and constant.
        Ok(Self(unsafe { core::slice::from_raw_parts(addr, len) }))
    }

    /// Returns the bytes of the address.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Returns the family, or [`None`] if the address is too short to have one.
    #[inline]
    pub fn family(&self) -> Option<u16> {
        self.bytes(0).map(u16::from_ne_bytes)
    }

    /// Parses the address as IPv4 or IPv6.
    ///
    /// Ignores any further bytes. Leaves the flow information in network byte order, as it is in
    /// `struct sockaddr_in6`.
    ///
    /// # Errors
    ///
    /// Returns `EINVAL` if the address is too short for its family, and `EAFNOSUPPORT` if it is of
    /// another family.
    pub fn parse(&self) -> Result<SocketAddr> {
        match self.family().ok_or(EINVAL)? {
            AF_INET => self.parse_v4().map(SocketAddr::V4).ok_or(EINVAL),
            AF_INET6 => self.parse_v6().map(SocketAddr::V6).ok_or(EINVAL),
            _ => Err(EAFNOSUPPORT),
        }
    }

    fn parse_v4(&self) -> Option<SocketAddrV4> {
        if self.0.len() < SOCKADDR_IN_LEN {
            return None;
        }
        Some(SocketAddrV4::new(
            Ipv4Addr::from(self.bytes::<4>(4)?),
            u16::from_be_bytes(self.bytes(2)?),
        ))
    }

    fn parse_v6(&self) -> Option<SocketAddrV6> {
        if self.0.len() < SIN6_LEN_RFC2133 {
            return None;
        }
        Some(SocketAddrV6::new(
            Ipv6Addr::from(self.bytes::<16>(8)?),
            u16::from_be_bytes(self.bytes(2)?),
            u32::from_ne_bytes(self.bytes(4)?),
            self.bytes(24).map_or(0, u32::from_ne_bytes),
        ))
    }

    /// Returns the `N` bytes at `offset`, or [`None`] if the address is too short.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }
}

/// A `struct sockaddr_in` or `struct sockaddr_in6` to pass to C code.
///
/// # Invariants
///
/// `len` is not more than the size of `bytes`, and the first `len` bytes are a socket address.
#[derive(Clone)]
#[repr(C, align(8))]
pub struct SockAddrBuf {
    bytes: [u8; SOCKADDR_IN6_LEN],
    len: usize,
}

impl SockAddrBuf {
    /// Returns the bytes of the address.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Returns a pointer to the address, which is valid for `len` bytes.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Returns the length of the address in the type that C code uses.
    #[inline]
    pub(crate) fn c_len(&self) -> c_int {
        // CAST: By the type invariants this is no more than the size of `struct sockaddr_in6`.
        self.len as c_int
    }

    /// Returns the address as an IPv6 address; an IPv4 address is mapped.
    pub(super) fn mapped(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => {
                SocketAddr::from((addr.ip().to_ipv6_mapped(), addr.port())).into()
            }
            SocketAddr::V6(_) => (*addr).into(),
        }
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(offset).zip(value) {
            *to = *from;
        }
    }
}

impl From<SocketAddr> for SockAddrBuf {
    fn from(addr: SocketAddr) -> Self {
        // INVARIANT: Both lengths are within `bytes`, which is filled in below to match.
        let mut buf = Self {
            bytes: [0; SOCKADDR_IN6_LEN],
            len: match addr {
                SocketAddr::V4(_) => SOCKADDR_IN_LEN,
                SocketAddr::V6(_) => SOCKADDR_IN6_LEN,
            },
        };

        buf.put(0, &(Domain::from(&addr) as u16).to_ne_bytes());
        buf.put(2, &addr.port().to_be_bytes());
        match addr.ip() {
            IpAddr::V4(ip) => buf.put(4, &ip.octets()),
            IpAddr::V6(ip) => buf.put(8, &ip.octets()),
        }
        if let SocketAddr::V6(addr) = addr {
            buf.put(4, &addr.flowinfo().to_ne_bytes());
            buf.put(24, &addr.scope_id().to_ne_bytes());
        }
        buf
    }
}

/// A buffer for an address that C code fills in.
///
/// # Invariants
///
/// The whole storage is initialised.
#[repr(transparent)]
pub(crate) struct AddrStorage(bindings::__kernel_sockaddr_storage);

impl AddrStorage {
    /// Creates an empty storage.
    #[inline]
    pub(crate) fn new() -> Self {
        // INVARIANT: The whole storage is zero.
        Self(pin_init::zeroed())
    }

    /// Returns a pointer for C code to write an address to.
    #[inline]
    pub(crate) fn as_mut_ptr<T>(&mut self) -> *mut T {
        (&raw mut self.0).cast()
    }

    /// Parses the first `len` bytes of the storage.
    pub(crate) fn parse(&self, len: c_int) -> Result<SocketAddr> {
        // SAFETY: By the type invariants the bytes are initialised, and they are borrowed from
        // `self`.
        unsafe { RawAddr::from_raw((&raw const self.0).cast(), len) }?.parse()
    }
}

impl From<&SockAddrBuf> for AddrStorage {
    fn from(addr: &SockAddrBuf) -> Self {
        let mut storage = Self::new();
        let bytes = addr.as_bytes();
        static_assert!(SOCKADDR_IN6_LEN <= size_of::<bindings::__kernel_sockaddr_storage>());

        // SAFETY: The storage has room for any `SockAddrBuf`.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), storage.as_mut_ptr(), bytes.len())
        };
        storage
    }
}
