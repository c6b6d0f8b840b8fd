// SPDX-License-Identifier: GPL-2.0

//! Who waits for a link: sockets that have lost the backend's with theirs, and calls.
//!
//! A listening socket and a datagram socket have nothing of a connection in them: an address, options
//! and a backlog, all of which the frontend knows. So a service goes on when its link comes back,
//! also with another backend, and its program need not know of it.

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

/// What can be made anew of a socket.
pub(crate) trait Survivor {
    /// Returns whether the socket is one of the [`Survivors`], or about to be.
    fn is_lost(&self) -> bool;

    /// Notes that. Any context.
    fn set_lost(&self, is_lost: bool);

    /// Has the backend of the same device, or another's if that is gone for good, make anew what was
    /// lost with the link. `ENETDOWN` if there is no link for it. Waits for the backend.
    fn revive(&self, sk: &Sock) -> Result;

    /// Tells a program that nothing comes of that.
    fn give_up(&self, sk: &Sock, error: Error);
}

/// Finds what can be made anew of a socket, if that is one of ours.
type Find = fn(&Sock) -> Option<&dyn Survivor>;

/// The sockets that wait for a link, and a place for calls that do.
#[pin_data]
pub(crate) struct Survivors {
    find: Find,
    #[pin]
    socks: Mutex<KVec<ARef<Sock>>>,
    /// Links have come or gone. Waited for with `socks` held.
    #[pin]
    arrival: CondVar,
    #[pin]
    work: Work<Survivors>,
}

impl_has_work! {
    impl HasWork<Self> for Survivors { self.work }
}

impl Survivors {
    /// Lets sockets survive. May sleep.
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

    /// Has a socket be made anew when there is a link. Returns `false` if its namespace does not want
    /// that, or there is no memory for it. May sleep.
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

    /// Adds a socket once, unless somebody has taken it out meanwhile.
    fn push(&self, sk: ARef<Sock>) -> bool {
        let mut socks = self.socks.lock();
        let is_lost = (self.find)(&sk).is_some_and(|survivor| survivor.is_lost());
        let is_there = socks.iter().any(|lost| core::ptr::eq(&**lost, &*sk));
        !is_lost || is_there || socks.push(sk, GFP_KERNEL).is_ok()
    }

    /// Takes a socket out that has ended, or was not lost. May sleep.
    pub(crate) fn remove(sk: &Sock) {
        if let Some(survivors) = SURVIVORS.get() {
            if let Some(survivor) = (survivors.find)(sk) {
                survivor.set_lost(false);
            }
            let mut socks = survivors.socks.lock();
            if let Some(index) = socks.iter().position(|lost| core::ptr::eq(&**lost, sk)) {
                // Not the last reference: the caller has another.
                let _ = socks.remove(index);
            }
        }
    }

    /// Waits until a socket has a link, as long as its namespace wants it. Interruptible; a call that
    /// is told nothing else asks for the link, and fails if there is none still.
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

    /// Has those that wait look for a link, as one has come, or the one that they wait for does not.
    pub(crate) fn revive() {
        if let Some((survivors, workers)) = SURVIVORS.get().zip(WORKERS.get()) {
            // Who has seen no link sleeps when this has been locked.
            drop(survivors.socks.lock());
            survivors.arrival.notify_all();
            // An item that is queued already does all there is to do.
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
            // The link may have gone down again: then the next one is asked.
            let waits = matches!(survivor.revive(&sk), Err(ENETDOWN));
            if waits && !this.push(sk.clone()) {
                survivor.give_up(&sk, ENETDOWN);
            }
        }
    }
}
