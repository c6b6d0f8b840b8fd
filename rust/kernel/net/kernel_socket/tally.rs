// SPDX-License-Identifier: GPL-2.0

//! Counting of sockets, including those that were closed and not freed yet.

use super::{
    KernelSocket,
    Protocol, //
};

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A number of sockets.
///
/// After a socket was closed, TCP keeps it until the peer has acknowledged the last byte or TCP
/// gives up, which the peer can delay, and UDP until the last datagram has left, which may wait for a
/// neighbour's address. The socket holds memory during that time. Code that creates sockets on behalf
/// of others has to count these sockets too, or their number is not limited.
///
/// Sockets in the state TIME-WAIT are not counted: they are small, and TCP limits their number.
///
/// # Examples
///
/// ```
/// use kernel::{
///     net::{
///         addr::Domain,
///         kernel_socket::{
///             KernelSocket,
///             Tally,
///             Tcp, //
///         },
///         namespace::Namespace, //
///     },
///     sync::Arc, //
/// };
///
/// let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
/// let mut socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
///
/// socket.count_in(&tally)?;
/// assert_eq!((tally.count(), tally.closed::<Tcp>()), (1, 0));
/// drop(socket);
/// // It was never connected: there is nothing left to do.
/// assert_eq!((tally.count(), tally.closed::<Tcp>()), (0, 0));
/// # Ok::<(), Error>(())
/// ```
pub struct Tally {
    /// Another tally, which also counts the sockets of this one.
    whole: Option<Arc<Tally>>,
    sockets: Atomic<usize>,
    closed_tcp: Closed,
    closed_udp: Closed,
}

/// The sockets of a protocol that were closed and not freed yet.
struct Closed {
    sockets: Atomic<usize>,
    /// Bytes that they had to send when they were closed.
    memory: Atomic<usize>,
}

impl Closed {
    const fn new() -> Self {
        Self {
            sockets: Atomic::new(0),
            memory: Atomic::new(0),
        }
    }
}

impl Tally {
    /// Creates an empty tally.
    pub const fn new() -> Self {
        Self::of(None)
    }

    /// Creates an empty tally for a subset of the sockets that `whole` counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     net::{
    ///         addr::Domain,
    ///         kernel_socket::{
    ///             KernelSocket,
    ///             Tally, //
    ///         },
    ///         namespace::Namespace, //
    ///     },
    ///     sync::Arc, //
    /// };
    ///
    /// let whole = Arc::new(Tally::new(), GFP_KERNEL)?;
    /// let part = Arc::new(Tally::part_of(&whole), GFP_KERNEL)?;
    /// let mut socket = KernelSocket::datagram(Namespace::init(), Domain::Inet)?;
    ///
    /// socket.count_in(&part)?;
    /// assert_eq!((whole.count(), part.count()), (1, 1));
    /// drop(socket);
    /// assert_eq!((whole.count(), part.count()), (0, 0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn part_of(whole: &Arc<Self>) -> Self {
        Self::of(Some(whole.clone()))
    }

    const fn of(whole: Option<Arc<Self>>) -> Self {
        Self {
            whole,
            sockets: Atomic::new(0),
            closed_tcp: Closed::new(),
            closed_udp: Closed::new(),
        }
    }

    fn closed_of(&self, protocol: u32) -> &Closed {
        match protocol {
            bindings::IPPROTO_TCP => &self.closed_tcp,
            _ => &self.closed_udp,
        }
    }

    /// Returns this tally, and all tallies that also count its sockets.
    fn all(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |tally| tally.whole.as_deref())
    }

    /// Takes a place for a socket that does not exist yet, for [`KernelSocket::count_as`]. It counts
    /// as a socket until it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     net::{
    ///         addr::Domain,
    ///         kernel_socket::{
    ///             KernelSocket,
    ///             Tally, //
    ///         },
    ///         namespace::Namespace, //
    ///     },
    ///     sync::Arc, //
    /// };
    ///
    /// let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
    /// let (place, unused) = (tally.place()?, tally.place()?);
    /// assert_eq!(tally.count(), 2);
    ///
    /// let mut socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
    /// socket.count_as(place);
    /// drop(unused);
    /// assert_eq!(tally.count(), 1);
    /// drop(socket);
    /// assert_eq!(tally.count(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn place(self: &Arc<Self>) -> Result<TallyPlace> {
        for tally in self.all() {
            tally.sockets.fetch_add(1, Relaxed);
        }
        // INVARIANT: All tallies have counted this object just above.
        let counted = Counted {
            tally: self.clone(),
            closed: None,
            original: None,
        };
        Ok(TallyPlace(KBox::new(counted, GFP_KERNEL)?))
    }

    /// Returns the number of sockets. Any context.
    pub fn count(&self) -> usize {
        self.sockets.load(Relaxed)
    }

    /// Returns the number of those sockets of a protocol that were closed and not freed yet. Any
    /// context.
    pub fn closed<P: Protocol>(&self) -> usize {
        self.closed_of(P::NUMBER).sockets.load(Relaxed)
    }

    /// Returns an upper limit on the bytes of memory of those sockets of a protocol that were closed
    /// and not freed yet. Any context.
    pub fn memory<P: Protocol>(&self) -> usize {
        self.closed_of(P::NUMBER).memory.load(Relaxed)
    }
}

/// Returns the number of closed sockets from which on TCP resets every connection that is closed,
/// whoever had it (`net.ipv4.tcp_max_orphans`). Any context.
pub fn tcp_max_closed() -> usize {
    // SAFETY: This may be called at any time.
    let sockets = unsafe { bindings::tcp_max_orphans() };

    usize::try_from(sockets).unwrap_or(0)
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in a [`Tally`]: to count a socket with it takes no memory.
pub struct TallyPlace(KBox<Counted>);

/// The membership of a socket in a [`Tally`], which ends when this is dropped. Any context.
///
/// # Invariants
///
/// The tally, and the tallies that it is a part of, count this object and, once it is `closed`, a
/// closed socket of this protocol with so many bytes.
#[repr(align(8))]
pub(super) struct Counted {
    tally: Arc<Tally>,
    /// The protocol, and the bytes of memory that the socket has added to the tally, once it is being
    /// closed.
    closed: Option<(u32, usize)>,
    /// The destructor that the socket's protocol has set.
    original: Option<unsafe extern "C" fn(*mut bindings::sock)>,
}

// The lowest bits of `sk_user_data` are flags. All of them are clear here.
static_assert!(align_of::<Counted>() >= 8);

impl Counted {
    /// Hands `this` to the socket, which keeps it until it is freed. Drops `this` at once if BPF
    /// uses the `sk_user_data` of the socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, must never have listened, and must have nothing installed. The caller
    /// must do nothing but close it afterwards.
    unsafe fn move_to_socket(mut this: KBox<Self>, sk: *mut bindings::sock) {
        // SAFETY: The socket is valid, and only its protocol has set this field, when the socket
        // was created.
        this.original = unsafe { (*sk).sk_destruct };

        // SAFETY: The socket is valid.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid and the lock held.
        let unused = if unsafe { (*sk).sk_user_data }.is_null() {
            // SAFETY: The socket is valid and the lock held, and nothing uses `sk_user_data`. BPF
            // leaves the field alone while it is not null. The socket is not copied, and the
            // destructor is called only after its last use.
            unsafe {
                (&raw mut (*sk).sk_user_data).write_volatile(KBox::into_raw(this).cast());
                (*sk).sk_destruct = Some(destruct);
            }
            None
        } else {
            Some(this)
        };
        // SAFETY: The lock was taken above.
        unsafe { bindings::sk_callback_write_unlock_bh(sk) };
        drop(unused);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for tally in self.tally.all() {
            tally.sockets.fetch_sub(1, Relaxed);
            if let Some((protocol, memory)) = self.closed {
                let closed = tally.closed_of(protocol);
                closed.sockets.fetch_sub(1, Relaxed);
                closed.memory.fetch_sub(memory, Relaxed);
            }
        }
    }
}

/// # Safety
///
/// Must only be called as `sk_destruct` of a socket for which [`Counted::move_to_socket`] has set
/// it.
unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
    // SAFETY: The socket is valid, and nothing else has a reference to it. `move_to_socket` stored
    // this pointer together with this function, and it has not changed since.
    let counted = unsafe { KBox::from_raw((*sk).sk_user_data.cast::<Counted>()) };

    if let Some(original) = counted.original {
        // SAFETY: The socket's protocol has set this function as the destructor.
        unsafe { original(sk) };
    }
}

/// Counting.
impl<P: Protocol> KernelSocket<P> {
    /// Counts the socket in `tally` until it is freed, possibly long after this object was dropped.
    ///
    /// A socket that has listened, or that BPF has put into a map, is counted only until this
    /// object is dropped.
    pub fn count_in(&mut self, tally: &Arc<Tally>) -> Result {
        self.count_as(tally.place()?);
        Ok(())
    }

    /// As [`KernelSocket::count_in`], in a place that was taken before.
    pub fn count_as(&mut self, place: TallyPlace) {
        self.counted = Some(place.0);
    }

    /// Hands the tally membership to the socket, which is about to be closed, until it is freed.
    ///
    /// # Safety
    ///
    /// The callbacks must have been cleared, and the caller must do nothing but close the socket
    /// afterwards.
    pub(super) unsafe fn move_tally_to_socket(&mut self) {
        let Some(mut counted) = self.counted.take() else {
            return;
        };
        // TCP keeps a closed socket for its peer. One of UDP lives until its last datagram has left.
        // Closing frees received data that was not read, so that does not count.
        let memory = P::unsent(self);
        for tally in counted.tally.all() {
            let closed = tally.closed_of(P::NUMBER);
            closed.sockets.fetch_add(1, Relaxed);
            closed.memory.fetch_add(memory, Relaxed);
        }
        // INVARIANT: All tallies have counted this just above.
        counted.closed = Some((P::NUMBER, memory));
        let sk = self.sk().as_raw();
        // TCP may copy a listener, even a former one, with its user data while it is being closed.
        // A listener has nothing to send, so nothing of it remains.
        // SAFETY: By the type invariants, the socket is valid.
        if !unsafe { bindings::tcp_has_listened(sk) } {
            // SAFETY: By the type invariants, the socket is valid. It has never listened, and the
            // caller has cleared the callbacks and closes it.
            unsafe { Counted::move_to_socket(counted, sk) };
        }
    }
}
