// SPDX-License-Identifier: GPL-2.0

//! Counting the sockets that there are, those included that were closed and are not gone yet.

use super::{
    KernelSocket,
    Protocol, //
};

use crate::{
    bindings,
    net::sock::TcpState,
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
/// TCP goes on with a socket after it was closed, until the peer has acknowledged the last byte or
/// is given up, which the peer can make last. All that time the socket holds memory. Whoever makes
/// sockets on behalf of somebody else counts these with the others, or there is no limit to them.
///
/// The remains in the state TIME-WAIT are not counted: they are small, and TCP limits them itself.
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
/// let mut socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
///
/// socket.count_in(&tally)?;
/// assert_eq!(tally.count(), 1);
/// drop(socket);
/// // It was never connected: there is nothing left to do.
/// assert_eq!(tally.count(), 0);
/// # Ok::<(), Error>(())
/// ```
pub struct Tally {
    /// Another, in which its sockets count, too.
    whole: Option<Arc<Tally>>,
    sockets: Atomic<usize>,
    /// What those that were closed had still to send then.
    memory: Atomic<usize>,
}

impl Tally {
    /// Creates a tally of no sockets.
    pub const fn new() -> Self {
        Self::of(None)
    }

    /// Creates a tally of no sockets, of some of those that another one counts.
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
            memory: Atomic::new(0),
        }
    }

    /// Returns this one, and those in which its sockets count, too.
    fn all(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |tally| tally.whole.as_deref())
    }

    /// Returns how many sockets there are. Any context.
    pub fn count(&self) -> usize {
        self.sockets.load(Relaxed)
    }

    /// Returns how many bytes of memory those that were closed, and are not gone, held at most since
    /// then. Any context.
    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// A socket's place in a [`Tally`], which it leaves when this is dropped. Any context.
///
/// # Invariants
///
/// The tally, and those of which it is a part, count this object, and `memory` of its own.
#[repr(align(8))]
pub(super) struct Counted {
    tally: Arc<Tally>,
    /// How much memory it has added to that of the tally.
    memory: usize,
    /// What the socket's protocol does when the socket is freed, once it is closed.
    original: Option<unsafe extern "C" fn(*mut bindings::sock)>,
}

// The lowest bits of `sk_user_data` are flags. None of them is set with this.
static_assert!(align_of::<Counted>() >= 8);

impl Counted {
    /// Has the socket keep this until it is freed.
    ///
    /// # Safety
    ///
    /// `sk` must be valid. The caller must be about to close it, and the only one to use its
    /// `sk_user_data`, which must be null, and from now on be left alone.
    unsafe fn leave_with(mut this: KBox<Self>, sk: *mut bindings::sock) {
        // SAFETY: The socket is valid, and only its protocol has set this, when it was made.
        this.original = unsafe { (*sk).sk_destruct };

        // SAFETY: The socket is valid.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid, the lock held, and we may change `sk_user_data`. The
        // destructor is called after the last use of the socket only.
        unsafe {
            (&raw mut (*sk).sk_user_data).write_volatile(KBox::into_raw(this).cast());
            (*sk).sk_destruct = Some(destruct);
        }
        // SAFETY: The lock was taken above.
        unsafe { bindings::sk_callback_write_unlock_bh(sk) };
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for tally in self.tally.all() {
            tally.sockets.fetch_sub(1, Relaxed);
            tally.memory.fetch_sub(self.memory, Relaxed);
        }
    }
}

/// # Safety
///
/// Only called as `sk_destruct` of a socket, where [`Counted::leave_with`] has put it.
unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
    // SAFETY: The socket is valid, and nobody else has a reference to it. This is what was put
    // there together with this function, and nobody has changed it since.
    let counted = unsafe { KBox::from_raw((*sk).sk_user_data.cast::<Counted>()) };

    if let Some(original) = counted.original {
        // SAFETY: This is what the socket's protocol had set, for the same moment.
        unsafe { original(sk) };
    }
}

/// Counting.
impl<P: Protocol> KernelSocket<P> {
    /// Has the socket counted until it is gone, which can be long after it was dropped.
    pub fn count_in(&mut self, tally: &Arc<Tally>) -> Result {
        for tally in tally.all() {
            tally.sockets.fetch_add(1, Relaxed);
        }
        // INVARIANT: It was just counted.
        let counted = Counted {
            tally: tally.clone(),
            memory: 0,
            original: None,
        };
        self.counted = Some(KBox::new(counted, GFP_KERNEL)?);
        Ok(())
    }

    /// Leaves it to the socket, which is going to be closed, to be counted until it is freed.
    ///
    /// # Safety
    ///
    /// The callbacks must have been cleared, and nothing but closing may follow.
    pub(super) unsafe fn leave_counted(&mut self) {
        let Some(mut counted) = self.counted.take() else {
            return;
        };
        // What was received and not read goes at once.
        counted.memory = self.buffered().sent;
        for tally in counted.tally.all() {
            tally.memory.fetch_add(counted.memory, Relaxed);
        }
        // A listening socket may be copied, with whatever is put into it, while it is being closed.
        // It has nothing to send, so nothing remains of it.
        if self.sk().state() != TcpState::Listen {
            // SAFETY: By the type invariants the socket is valid and `sk_user_data` ours, and null
            // without callbacks. The caller closes it.
            unsafe { Counted::leave_with(counted, self.sk().as_raw()) };
        }
    }
}
