// SPDX-License-Identifier: GPL-2.0

//! Sockets that have lost their link, and calls that wait for a link.
//!
//! A listening socket and a datagram socket hold no connection state, only an address, options and
//! a backlog, which the frontend knows. So a service goes on when its link comes back, even with
//! another backend, and its program does not notice.

use crate::{
    hijack::Hijack,
    keeper::Keeper,
    proto::rule::route::DeviceName, //
};
use kernel::{
    net::sock::Sock,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        CondVar,
        CondVarTimeoutResult,
        GlobalArc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

/// The sockets that wait for another link.
static SURVIVORS: GlobalArc<Survivors> = GlobalArc::new();

/// A socket that can be set up again on another link.
pub(crate) trait Survivor {
    /// Returns `true` if the socket is one of the [`Survivors`], or about to be.
    fn is_lost(&self) -> bool;

    /// Sets this state, unless the socket was closed and nobody would clear it. Does not sleep.
    fn set_lost(&self);

    /// Clears this state. Any context.
    fn set_found(&self);

    /// Returns the device that the lost state would be set up with: the same one, or another one if
    /// that is gone for good. Returns `None` if it has no link now. Does not sleep.
    fn device(&self, sk: &Sock) -> Option<DeviceName>;

    /// Sets up the lost state again, or reports to the program that this is not possible. Waits for
    /// the backend.
    ///
    /// The socket stays lost if there is no link for it. It also stays lost if a call holds it;
    /// when the call ends, this is tried again. Returns `true` if the socket stays lost because of
    /// an error that [may pass](crate::errors::may_pass), with this value of `is_new`.
    fn revive(&self, sk: &Sock, is_new: bool) -> bool;
}

/// Returns the survivor of a socket, if the socket is one of XenSock's.
type Find = fn(&Sock) -> Option<&dyn Survivor>;

/// The sockets that wait for a link, and the wait queue of calls that do.
#[pin_data]
pub(crate) struct Survivors {
    find: Find,
    #[pin]
    lost: Mutex<LostSocks>,
    /// Number of [`Place`]s. Grows with `lost` held.
    places: Atomic<usize>,
    /// Signalled when links come or go. Tasks wait with `lost` held.
    #[pin]
    arrival: CondVar,
}

struct LostSocks {
    /// There is room for as many as there are [`Place`]s. A socket in the list has one.
    socks: KVVec<LostSock>,
    /// Number of passes over the sockets that were begun, see [`Survivors::revive`].
    passes: u64,
}

/// A socket stays in the list while it is set up.
struct LostSock {
    sk: ARef<Sock>,
    /// The last pass that has tried to set it up.
    tried: u64,
}

impl LostSocks {
    fn position(&self, sk: &Sock) -> Option<usize> {
        let mut socks = self.socks.iter();
        socks.position(|lost| core::ptr::eq(&*lost.sk, sk))
    }
}

/// A place in the list for a socket, so that it needs no memory when it loses its link. The socket
/// keeps it to its end, which may be in any context.
pub(crate) struct Place(Arc<Survivors>);

impl Drop for Place {
    fn drop(&mut self) {
        // The room stays. The reference is not the last one: a socket keeps the module loaded.
        self.0.places.fetch_sub(1, Relaxed);
    }
}

impl Survivors {
    /// Allows sockets to survive. May sleep.
    pub(crate) fn keep(find: Find) -> Result<Keeper<Self>> {
        let survivors = Arc::pin_init(
            pin_init!(Self {
                find,
                lost <- new_mutex!(
                    LostSocks {
                        socks: KVVec::new(),
                        passes: 0,
                    },
                    "xensock_survivors"
                ),
                places: Atomic::new(0),
                arrival <- new_condvar!("xensock_arrival"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Keeper::new(&SURVIVORS, survivors))
    }

    /// Returns a place for a socket that may lose its link. May sleep.
    pub(crate) fn reserve() -> Result<Place> {
        let survivors = SURVIVORS.get().ok_or(ENODEV)?;
        {
            let mut lost = survivors.lost.lock();
            let places = survivors.places.load(Relaxed) + 1;
            let missing = places.saturating_sub(lost.socks.len());
            lost.socks.reserve(missing, GFP_KERNEL)?;
            survivors.places.add(1, Relaxed);
        }
        Ok(Place(survivors))
    }

    /// Notes a socket that has a [`Place`], to set it up again when there is a link. Returns
    /// `false` if its namespace does not allow that. May sleep.
    pub(crate) fn enter(sk: &Sock) -> bool {
        let settings = sk.namespace().and_then(|net| Hijack::of(&net));
        if !settings.is_some_and(|settings| settings.keeps_services()) {
            return false;
        }
        let Some(survivors) = SURVIVORS.get() else {
            return false;
        };
        let Some(survivor) = (survivors.find)(sk) else {
            return false;
        };
        survivor.set_lost();
        let entered = survivors.push(sk, survivor);
        if !entered {
            survivor.set_found();
        }
        entered
    }

    /// Adds a socket once, unless it was closed or removed meanwhile.
    fn push(&self, sk: &Sock, survivor: &dyn Survivor) -> bool {
        let mut lost = self.lost.lock();
        let new = LostSock {
            sk: sk.into(),
            tried: 0,
        };
        !survivor.is_lost()
            || lost.position(sk).is_some()
            || lost.socks.push_within_capacity(new).is_ok()
    }

    /// Removes a socket that has ended, or was not lost. May sleep.
    pub(crate) fn remove(sk: &Sock) {
        if let Some(survivors) = SURVIVORS.get() {
            if let Some(survivor) = (survivors.find)(sk) {
                survivor.set_found();
            }
            survivors.forget(sk);
        }
    }

    /// Removes a socket from the list, unless it is lost. The caller holds a reference to it.
    fn forget(&self, sk: &Sock) {
        let mut lost = self.lost.lock();
        if (self.find)(sk).is_some_and(|survivor| survivor.is_lost()) {
            return;
        }
        if let Some(index) = lost.position(sk) {
            // Not the last reference.
            let _ = lost.socks.remove(index);
        }
    }

    /// Waits until a socket has a link, for the time set in its namespace. Interruptible. After
    /// `Ok` the caller tries to use the link, and fails if there is still none.
    pub(crate) fn await_link(sk: &Sock, has_link: impl Fn() -> bool) -> Result {
        if has_link() {
            return Ok(());
        }
        let settings = sk.namespace().and_then(|net| Hijack::of(&net));
        let wait = settings.map_or(0, |settings| settings.link_wait());
        let Some(survivors) = SURVIVORS.get().filter(|_| wait > 0) else {
            return Ok(());
        };
        let mut left = msecs_to_jiffies(wait);
        let mut lost = survivors.lost.lock();
        while !has_link() {
            match survivors
                .arrival
                .wait_interruptible_timeout(&mut lost, left)
            {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => break,
                CondVarTimeoutResult::Signal { .. } => return Err(ERESTARTSYS),
            }
        }
        Ok(())
    }

    /// Makes waiting calls look for a link. May sleep.
    pub(crate) fn notify_calls() {
        if let Some(survivors) = SURVIVORS.get() {
            // After this lock, a task that has seen no link sleeps and receives the notification.
            drop(survivors.lost.lock());
            survivors.arrival.notify_all();
        }
    }

    /// Sets up again the sockets that would use the link of a device, one after the other. `is_new`
    /// says if the link has come up only recently. Returns `true` if this has to be called again
    /// later. Waits for the backend.
    pub(crate) fn revive(device: DeviceName, is_new: bool) -> bool {
        let Some(survivors) = SURVIVORS.get() else {
            return false;
        };
        let mut is_any_left = false;
        let pass = {
            let mut lost = survivors.lost.lock();
            lost.passes += 1;
            lost.passes
        };
        while let Some(sk) = survivors.next(device, pass) {
            if let Some(survivor) = (survivors.find)(&sk) {
                is_any_left |= survivor.revive(&sk, is_new);
            }
            survivors.forget(&sk);
        }
        is_any_left
    }

    /// Returns the first socket for a device that was not tried in this pass or a later one.
    fn next(&self, device: DeviceName, pass: u64) -> Option<ARef<Sock>> {
        let is_for = |sk: &Sock| {
            let survivor = (self.find)(sk);
            survivor.is_some_and(|s| !s.is_lost() || s.device(sk) == Some(device))
        };
        let mut lost = self.lost.lock();
        let mut socks = lost.socks.iter_mut();
        let next = socks.find(|lost| lost.tried < pass && is_for(&lost.sk))?;
        next.tried = pass;
        Some(next.sk.clone())
    }
}
