// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use crate::{
    bindings,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    task::Kuid,
    types::Opaque, //
};

use core::{
    net::IpAddr,
    ptr::NonNull, //
};

/// Returns the user who has made the user namespace that the current task is in; of several, one in
/// the other, the outermost. [`None`] in the initial one.
///
/// Whatever users there are in a namespace, they are all of that user's making.
///
/// # Examples
///
/// ```
/// assert!(kernel::net::namespace::user_namespace_maker().is_none());
/// ```
pub fn user_namespace_maker() -> Option<Kuid> {
    let mut maker = bindings::kuid_t { val: 0 };

    // SAFETY: The pointer is valid for writes. The namespaces of the current task live as long as
    // its credentials, which nobody else changes.
    unsafe { bindings::current_ns_maker(&raw mut maker) }.then(|| Kuid::from_raw(maker))
}

/// A network namespace. Thread safe.
///
/// Wraps the kernel's `struct net`. As long as there is a reference to it the namespace is alive:
/// sockets can be created in it, and its devices and routes remain.
///
/// # Invariants
///
/// The reference count of the namespace (not just the passive one, which keeps no more than the
/// memory) is not zero for as long as an object of this type can be reached.
///
/// # Examples
///
/// ```
/// use kernel::{
///     net::namespace::Namespace,
///     sync::aref::ARef, //
/// };
///
/// let net: ARef<Namespace> = Namespace::init().into();
/// assert!(*net == *Namespace::init());
/// ```
#[repr(transparent)]
pub struct Namespace(Opaque<bindings::net>);

impl Namespace {
    /// Returns the initial network namespace, which always exists.
    #[inline]
    pub fn init() -> &'static Self {
        // SAFETY: The initial namespace is a static object whose reference count never drops to
        // zero.
        unsafe { Self::from_raw(&raw mut bindings::init_net) }
    }

    /// Returns the namespace that has this number in the initial one (`ip netns set NAME ID`, and
    /// `ip netns list-id` there).
    ///
    /// [`None`] if there is none, or if it is on its way out. Numbers may be given to other
    /// namespaces later, the reference that is returned stays with this one. Any context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::namespace::Namespace;
    ///
    /// assert!(Namespace::by_id(-1).is_none());
    /// ```
    pub fn by_id(nsid: i32) -> Option<ARef<Self>> {
        // SAFETY: The initial namespace is always valid.
        let net = unsafe { bindings::get_net_ns_by_id(Self::init().as_raw(), nsid) };

        // SAFETY: `get_net_ns_by_id` has taken a reference for us, which the result owns from here
        // on.
        Some(unsafe { ARef::from_raw(NonNull::new(net)?.cast()) })
    }

    /// Returns the first and the last of the ports from which those are chosen that no program has
    /// chosen (`net.ipv4.ip_local_port_range`). Any context.
    pub fn local_ports(&self) -> (u16, u16) {
        // SAFETY: By the type invariants the namespace is valid.
        let range = unsafe { bindings::net_local_ports(self.as_raw()) };

        // CAST: These are the halves of it.
        (range as u16, (range >> 16) as u16)
    }

    /// Returns a number that no other namespace has had. Any context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::namespace::Namespace;
    ///
    /// assert_ne!(Namespace::init().cookie(), 0);
    /// ```
    pub fn cookie(&self) -> u64 {
        // SAFETY: By the type invariants the namespace is valid. This was written when it was made.
        unsafe { (*self.as_raw()).net_cookie }
    }

    /// Returns whether the current task may give a socket of this namespace the port: those below
    /// `net.ipv4.ip_unprivileged_port_start` are for those who have `CAP_NET_BIND_SERVICE`.
    ///
    /// Process context.
    pub fn may_bind(&self, port: u16) -> bool {
        // SAFETY: By the type invariants the namespace is valid.
        unsafe { bindings::net_may_bind(self.as_raw(), port) }
    }

    /// Returns whether an address is one of this host's own, as far as this namespace knows: it has
    /// an interface with it, or a route which says so.
    ///
    /// Process context.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        // So that it has the alignment of a `struct in6_addr`.
        let bytes = u128::from_ne_bytes(ip.octets());

        // SAFETY: By the type invariants the namespace is valid, and so is the address.
        unsafe { bindings::net_is_local(self.as_raw(), (&raw const bytes).cast()) }
    }

    /// Returns whether an address is one of all hosts of a network that this host is in, as far as
    /// this namespace knows: this host takes in what it sends there.
    ///
    /// Process context.
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            // SAFETY: By the type invariants the namespace is valid.
            IpAddr::V4(ip) => unsafe {
                bindings::net_is_broadcast(self.as_raw(), u32::from_ne_bytes(ip.octets()))
            },
            IpAddr::V6(_) => false,
        }
    }

    /// Creates a reference to a [`Namespace`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a valid `struct net` whose reference count is not zero, and remains so
    /// for the duration of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // SAFETY: The safety requirements guarantee that the pointer is valid, and `Self` has the
        // same layout.
        unsafe { &*ptr.cast() }
    }

    /// Takes a reference to a namespace that may be on its way out.
    ///
    /// Returns [`None`] if it is.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` whose memory is valid during this call.
    #[inline]
    pub(crate) unsafe fn try_get(ptr: *mut bindings::net) -> Option<ARef<Self>> {
        // SAFETY: The pointer is valid by the safety requirements.
        let net = NonNull::new(unsafe { bindings::maybe_get_net(ptr) })?;

        // SAFETY: `maybe_get_net` has taken a reference for us, which the result owns from here
        // on.
        Some(unsafe { ARef::from_raw(net.cast()) })
    }

    /// Returns the raw `struct net`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}

impl PartialEq for Namespace {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for Namespace {}

// SAFETY: The reference count of `struct net` is what `get_net` and `put_net` work on, and the type
// invariants guarantee that it is not zero while there is a reference.
unsafe impl AlwaysRefCounted for Namespace {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the reference count is not zero.
        unsafe { bindings::get_net(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The safety requirements guarantee that the reference count is not zero and that
        // one reference is ours to give up. This may be called from any context: the last
        // reference leaves the cleanup to a work queue.
        unsafe { bindings::put_net(obj.cast().as_ptr()) };
    }
}

// SAFETY: `Namespace::dec_ref` can be called from any thread.
unsafe impl Send for Namespace {}

// SAFETY: A shared reference gives access to the reference count and to nothing else.
unsafe impl Sync for Namespace {}
