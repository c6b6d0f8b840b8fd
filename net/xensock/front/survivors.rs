// SPDX-License-Identifier: GPL-2.0

//! The sockets that have lost the backend's with their link, and get others from the next one.
//!
//! A listening socket and a datagram socket have nothing of a connection in them: an address, options
//! and a backlog, all of which the frontend knows. So a service goes on when its link comes back,
//! also with another backend, and its program need not know of it.

use crate::{
    choice::Hijack,
    family::engine,
    SURVIVORS,
    WORKERS, //
};
use kernel::{
    impl_has_work,
    net::sock::Sock,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// The sockets that wait for a link.
#[pin_data]
pub(crate) struct Survivors {
    #[pin]
    socks: Mutex<KVec<ARef<Sock>>>,
    #[pin]
    work: Work<Survivors>,
}

impl_has_work! {
    impl HasWork<Self> for Survivors { self.work }
}

impl Survivors {
    /// Those of the module.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                socks <- new_mutex!(KVec::new(), "xensock_survivors"),
                work <- new_work!("xensock_survivors"),
            }),
            GFP_KERNEL,
        )
    }

    /// Has a socket be made anew when there is a link. Returns `false` if its namespace does not want
    /// that, or there is no memory for it. May sleep.
    pub(crate) fn enter(sk: &Sock) -> bool {
        let settings = sk.namespace().and_then(|net| Hijack::of(&net));
        if !settings.is_some_and(|settings| settings.keeps_services()) {
            return false;
        }
        let Some((survivors, engine)) = SURVIVORS.get().zip(engine(sk)) else {
            return false;
        };
        engine.endpoint().set_lost(true);
        let entered = survivors.push(sk.into());
        if !entered {
            engine.endpoint().set_lost(false);
        }
        entered
    }

    /// Adds a socket once, unless somebody has taken it out meanwhile.
    fn push(&self, sk: ARef<Sock>) -> bool {
        let mut socks = self.socks.lock();
        let is_lost = engine(&sk).is_some_and(|engine| engine.endpoint().is_lost());
        let is_there = socks.iter().any(|lost| core::ptr::eq(&**lost, &*sk));
        !is_lost || is_there || socks.push(sk, GFP_KERNEL).is_ok()
    }

    /// Takes a socket out that has ended, or was not lost. May sleep.
    pub(crate) fn remove(sk: &Sock) {
        if let Some(engine) = engine(sk) {
            engine.endpoint().set_lost(false);
        }
        if let Some(survivors) = SURVIVORS.get() {
            let mut socks = survivors.socks.lock();
            if let Some(index) = socks.iter().position(|lost| core::ptr::eq(&**lost, sk)) {
                // Not the last reference: the caller has another.
                let _ = socks.remove(index);
            }
        }
    }

    /// Has those that wait be made anew, as there is a link.
    pub(crate) fn revive() {
        if let Some((survivors, workers)) = SURVIVORS.get().zip(WORKERS.get()) {
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
            let Some(engine) = engine(&sk) else {
                continue;
            };
            // The link may have gone down again: then the next one is asked.
            let waits = matches!(engine.revive(&sk), Err(ENETDOWN));
            if waits && !this.push(sk.clone()) {
                engine.give_up(&sk, ENETDOWN);
            }
        }
    }
}
