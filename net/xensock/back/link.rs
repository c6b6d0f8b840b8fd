// SPDX-License-Identifier: GPL-2.0

//! A link with a guest: it lasts while both ends are connected.

use crate::{
    calls,
    counters::Counters,
    guest::Guest,
    log::LogLimit,
    policy::InForce,
    queues::Queues,
    table::Table,
    transport::{
        Address,
        Transport, //
    }, //
};
use kernel::{
    impl_has_work,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        ArcBorrow,
        Completion, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
    xen::{
        event::{
            Eoi,
            Handler, //
        },
        ring::SLOTS,
        xenbus,
        DomId, //
    }, //
};

/// A link with a guest. Its work item serves the requests.
#[pin_data]
pub(crate) struct Link {
    guest: Arc<Guest>,
    table: Arc<Table>,
    /// Completed when nothing has a reference to `guest` any more.
    gone: Arc<Completion>,
    /// Set once the guest is told of the link.
    is_serving: Atomic<bool>,
    #[pin]
    work: Work<Link>,
}

impl_has_work! {
    impl HasWork<Self> for Link { self.work }
}

impl Link {
    /// Maps the commands ring of a guest. [`Self::serve`] has to follow. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device,
        queues: Arc<Queues>,
        log: Arc<LogLimit>,
        in_force: Arc<InForce>,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>> {
        let gone = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let guest = Guest::new(dev, queues, log, in_force, counters, gone.clone())?;
        let table = Table::new(guest.clone())?;
        let link = Arc::pin_init(
            try_pin_init!(Self {
                guest,
                table,
                gone,
                is_serving: Atomic::new(false),
                work <- new_work!("xensock_commands"),
            }),
            GFP_KERNEL,
        )?;
        link.table.begin_recounts();
        if let Err(error) = link.transport().open(dev, link.clone()) {
            link.take_down();
            return Err(error);
        }
        Ok(link)
    }

    /// Begins to serve the guest, which has been told that the link is up: what the guest does wrong
    /// may end the link at once.
    pub(crate) fn serve(self: &Arc<Self>) {
        self.is_serving.store(true, Release);
        // For requests sent so far.
        self.wake();
    }

    fn transport(&self) -> &Transport {
        &self.guest.transport
    }

    /// Returns the location of the guest's commands ring.
    pub(crate) fn address(&self) -> Address {
        self.transport().address()
    }

    /// Returns the domain id of the guest.
    pub(crate) fn peer(&self) -> DomId {
        self.transport().peer()
    }

    /// Takes the link down: closes all sockets and unmaps all memory of the guest. May sleep.
    ///
    /// Not to be called from a work item.
    pub(crate) fn take_down(self: Arc<Self>) {
        self.close();
        self.table.end_recounts();
        let (gone, queues) = (self.gone.clone(), self.transport().queues.clone());
        drop(self);
        // Each socket is taken apart in a turn of its work item, which comes when a command that has
        // just made it is done, or a soft interrupt that moves its bytes. It has a reference to the
        // guest until then, however many turns that takes.
        gone.wait_for_completion();
        // For work items that hold nothing but the news page, and for the end of the last one.
        queues.flush();
    }

    /// Takes the commands ring out of use, and makes all sockets close, each in its work item. May
    /// sleep.
    fn close(&self) {
        self.guest.close();
        self.table.close();
    }

    /// Queues the work item.
    fn wake(self: &Arc<Self>) {
        // An item that is already queued will see the new work.
        let _ = self.transport().queues.commands.enqueue(self.clone());
    }

    /// Serves requests until there are none, or until it has served as many as the ring has slots.
    ///
    /// Returns `true` if there may be more.
    fn serve_some(&self) -> Result<bool> {
        for _ in 0..SLOTS {
            match self.transport().commands.next()? {
                Some(slot) => calls::dispatch(&self.table, &slot),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Handler for Link {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.transport().commands.note_event();
        let link: Arc<Self> = this.into();
        link.wake();
        Eoi::Later
    }
}

impl WorkItem for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        if !this.is_serving.load(Acquire) {
            return;
        }
        match this.serve_some() {
            // Other work items first.
            Ok(true) => this.wake(),
            Ok(false) => this.transport().commands.eoi(),
            // All that is left for this guest is the end of the link.
            Err(_) => {
                this.close();
                let what = c"impossible index in the commands ring";
                this.transport().fail(what);
            }
        }
    }
}
