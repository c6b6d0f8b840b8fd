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

/// Returns the user who created the outermost non-initial user namespace that the current task is
/// in, or [`None`] if the task is in the initial one.
///
/// That user is responsible for all users inside this namespace.
///
/// # Examples
///
/// ```
/// assert!(kernel::net::namespace::user_namespace_owner().is_none());
/// ```
pub fn user_namespace_owner() -> Option<Kuid> {
    let mut owner = bindings::kuid_t { val: 0 };

    // SAFETY: The pointer is valid for writes. The user namespaces of the current task live as long
    // as its credentials, which no other task changes.
    unsafe { bindings::current_userns_owner(&raw mut owner) }.then(|| Kuid::from_raw(owner))
}

/// A network namespace.
///
/// Wraps the kernel's `struct net`. While there is a reference, the namespace is alive: sockets can
/// be created in it, and its devices and routes remain.
///
/// # Invariants
///
/// The reference count of the namespace is not zero as long as an object of this type can be
/// reached. (This is not the passive reference count, which only keeps the memory.)
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

    /// Returns the namespace that has the ID `nsid` in the initial one (`ip netns set NAME ID`, and
    /// `ip netns list-id` there).
    ///
    /// Returns [`None`] if there is no such namespace, or if it is being destroyed. An ID may be
    /// reassigned to another namespace later, but the returned reference stays with this namespace.
    /// Any context.
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

        // SAFETY: `get_net_ns_by_id` has taken a reference for us, which the result owns from now
        // on.
        Some(unsafe { ARef::from_raw(NonNull::new(net)?.cast()) })
    }

    /// Returns the first and the last port of the range for automatically assigned ports
    /// (`net.ipv4.ip_local_port_range`). Any context.
    pub fn local_ports(&self) -> (u16, u16) {
        // SAFETY: By the type invariants the namespace is valid.
        let range = unsafe { bindings::net_local_ports(self.as_raw()) };

        // CAST: The two halves of `range`.
        (range as u16, (range >> 16) as u16)
    }

    /// Returns `true` if `port` may be assigned automatically: it is in the range of
    /// [`Self::local_ports`], and not reserved (`net.ipv4.ip_local_reserved_ports`). Any context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::namespace::Namespace;
    ///
    /// let net = Namespace::init();
    /// let (first, last) = net.local_ports();
    ///
    /// assert!(net.chooses_port(first) && net.chooses_port(last));
    /// assert!(!net.chooses_port(0));
    /// assert!(!net.chooses_port(first - 1));
    /// ```
    pub fn chooses_port(&self, port: u16) -> bool {
        let (first, last) = self.local_ports();
        // SAFETY: By the type invariants the namespace is valid.
        let is_reserved = unsafe { bindings::net_reserves_port(self.as_raw(), port) };

        (first..=last).contains(&port) && !is_reserved
    }

    /// Returns the cookie of the namespace, a number that no other namespace has had. Any context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::namespace::Namespace;
    ///
    /// assert_ne!(Namespace::init().cookie(), 0);
    /// ```
    pub fn cookie(&self) -> u64 {
        // SAFETY: By the type invariants the namespace is valid. The cookie is written only when
        // the namespace is created.
        unsafe { (*self.as_raw()).net_cookie }
    }

    /// Returns `true` if the current task may bind a socket of this namespace to `port`: ports
    /// below `net.ipv4.ip_unprivileged_port_start` require `CAP_NET_BIND_SERVICE`. Port 0, which
    /// asks for any port, requires nothing.
    ///
    /// Process context.
    pub fn may_bind(&self, port: u16) -> bool {
        // SAFETY: By the type invariants the namespace is valid.
        unsafe { bindings::net_may_bind(self.as_raw(), port) }
    }

    /// Returns `true` if `ip` is one of this host's own addresses in this namespace: an interface
    /// has it, or a route says so.
    ///
    /// Process context.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        // A `u128` has the alignment of a `struct in6_addr`.
        let bytes = u128::from_ne_bytes(ip.octets());

        // SAFETY: By the type invariants the namespace is valid, and the address points to 16
        // bytes.
        unsafe { bindings::net_is_local(self.as_raw(), (&raw const bytes).cast()) }
    }

    /// Returns `true` if `ip` is the broadcast address of a network that this host is in, as seen
    /// from this namespace: this host also receives what it sends to that address itself.
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

    /// Takes a reference to a namespace that may be in the process of being destroyed.
    ///
    /// Returns [`None`] if it is being destroyed.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` whose memory is valid during this call.
    #[inline]
    pub(crate) unsafe fn try_get(ptr: *mut bindings::net) -> Option<ARef<Self>> {
        // SAFETY: The pointer is valid by the safety requirements.
        let net = NonNull::new(unsafe { bindings::maybe_get_net(ptr) })?;

        // SAFETY: `maybe_get_net` has taken a reference for us, which the result owns from now on.
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

// SAFETY: `get_net` and `put_net` work on the reference count of `struct net`, and the type
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
        // we own one reference. This may be called from any context: dropping the last reference
        // leaves the cleanup to a work queue.
        unsafe { bindings::put_net(obj.cast().as_ptr()) };
    }
}

// SAFETY: `Namespace::dec_ref` can be called from any thread.
unsafe impl Send for Namespace {}

// SAFETY: A shared reference gives access to the reference count, which is atomic, to the cookie,
// which never changes, and to C functions that any thread may call.
unsafe impl Sync for Namespace {}
