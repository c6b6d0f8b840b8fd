// SPDX-License-Identifier: GPL-2.0

//! Sockets that have lost their link, and calls that wait for a link.
//!
//! A listening socket and a datagram socket hold no connection state, only an address, options and
//! a backlog, which the frontend knows. So a service goes on when its link comes back, even with
//! another backend, and its program does not notice.

use crate::{
    hijack::Hijack,
    keeper::Keeper,
    workers::WORKERS, //
};
use kernel::{
    impl_has_work,
    net::sock::Sock,
    new_condvar,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        GlobalArc,
        Mutex, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// The sockets that wait for another link.
static SURVIVORS: GlobalArc<Survivors> = GlobalArc::new();

/// A socket that can be set up again on another link.
pub(crate) trait Survivor {
    /// Returns `true` if the socket is one of the [`Survivors`], or about to be.
    fn is_lost(&self) -> bool;

    /// Sets or clears this state. Any context.
    fn set_lost(&self, is_lost: bool);

    /// Sets up the lost state again with the backend of the same device, or of another one if that
    /// device is gone for good. Fails with `ENETDOWN` if there is no link for it. Waits for the
    /// backend.
    fn revive(&self, sk: &Sock) -> Result;

    /// Reports to the program that the state could not be set up again.
    fn give_up(&self, sk: &Sock, error: Error);
}

/// Returns the survivor of a socket, if the socket is one of XenSock's.
type Find = fn(&Sock) -> Option<&dyn Survivor>;

/// The sockets that wait for a link, and the wait queue of calls that do.
#[pin_data]
pub(crate) struct Survivors {
    find: Find,
    #[pin]
    socks: Mutex<KVec<ARef<Sock>>>,
    /// Signalled when links come or go. Tasks wait with `socks` held.
    #[pin]
    arrival: CondVar,
    #[pin]
    work: Work<Survivors>,
}

impl_has_work! {
    impl HasWork<Self> for Survivors { self.work }
}

impl Survivors {
    /// Allows sockets to survive. May sleep.
    pub(crate) fn keep(find: Find) -> Result<Keeper<Self>> {
        let survivors = Arc::pin_init(
            pin_init!(Self {
                find,
                socks <- new_mutex!(KVec::new(), "xensock_survivors"),
                arrival <- new_condvar!("xensock_arrival"),
                work <- new_work!("xensock_survivors"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Keeper::new(&SURVIVORS, survivors))
    }

    /// Has a socket set up again when there is a link. Returns `false` if its namespace does not
    /// allow that, or there is no memory. May sleep.
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
        survivor.set_lost(true);
        let entered = survivors.push(sk.into());
        if !entered {
            survivor.set_lost(false);
        }
        entered
    }

    /// Adds a socket once, unless it was removed meanwhile.
    fn push(&self, sk: ARef<Sock>) -> bool {
        let mut socks = self.socks.lock();
        let is_lost = (self.find)(&sk).is_some_and(|survivor| survivor.is_lost());
        let is_there = socks.iter().any(|lost| core::ptr::eq(&**lost, &*sk));
        !is_lost || is_there || socks.push(sk, GFP_KERNEL).is_ok()
    }

    /// Removes a socket that has ended, or was not lost. May sleep.
    pub(crate) fn remove(sk: &Sock) {
        if let Some(survivors) = SURVIVORS.get() {
            if let Some(survivor) = (survivors.find)(sk) {
                survivor.set_lost(false);
            }
            let mut socks = survivors.socks.lock();
            if let Some(index) = socks.iter().position(|lost| core::ptr::eq(&**lost, sk)) {
                // Not the last reference: the caller holds another.
                let _ = socks.remove(index);
            }
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
        let mut socks = survivors.socks.lock();
        while !has_link() {
            match survivors
                .arrival
                .wait_interruptible_timeout(&mut socks, left)
            {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => break,
                CondVarTimeoutResult::Signal { .. } => return Err(ERESTARTSYS),
            }
        }
        Ok(())
    }

    /// Has waiting sockets and calls look for a link: a link has come, or the expected one will
    /// not.
    pub(crate) fn revive() {
        if let Some((survivors, workers)) = SURVIVORS.get().zip(WORKERS.get()) {
            // After this lock, a task that has seen no link sleeps and receives the notification.
            drop(survivors.socks.lock());
            survivors.arrival.notify_all();
            // One queued item does all the work.
            let _ = workers.enqueue::<_, 0>(survivors);
        }
    }
}

impl WorkItem for Survivors {
    type Pointer = Arc<Survivors>;

    fn run(this: Arc<Survivors>) {
        let socks = core::mem::take(&mut *this.socks.lock());
        for sk in socks {
            let Some(survivor) = (this.find)(&sk) else {
                continue;
            };
            // The link may have gone down again: then the socket waits for the next one.
            let waits = matches!(survivor.revive(&sk), Err(ENETDOWN));
            if waits && !this.push(sk.clone()) {
                survivor.give_up(&sk, ENETDOWN);
            }
        }
    }
}
