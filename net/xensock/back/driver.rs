// SPDX-License-Identifier: GPL-2.0

//! The xenbus driver: follows the frontend through the states of the link.

use crate::{
    counters::Counters,
    directory::DEBUGFS,
    link::Link,
    log::LogLimit,
    offer::LinkOffer,
    policy::InForce,
    proto::{
        link::{
            back_next,
            is_lasting,
            BackAction,
            EndState, //
        },
        policy,
        Dialect, //
    },
    queues::Queues,
    refused::Refused,
    transport::Address, //
};
use kernel::{
    debugfs,
    device::{
        Bound,
        Core, //
    },
    impl_has_delayed_work,
    new_delayed_work,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        owned::cancel_delayed_sync,
        DelayedWork,
        WorkItem, //
    },
    xen::{
        trace::xensock_back as trace,
        xenbus::{
            self,
            DeviceId,
            Side,
            State,
            Watch,
            Watcher, //
        }, //
    },
    xenbus_device_table, //
};

xenbus_device_table!(
    ID_TABLE,
    [DeviceId::new(c"xensock"), DeviceId::new(c"pvcalls")]
);

/// The part of a backend that changes with the states of the two ends.
struct Ends {
    /// `false` once the driver is unbound.
    is_bound: bool,
    /// The link, while it is up.
    link: Option<Arc<Link>>,
}

/// The backend of one device.
#[pin_data]
pub(crate) struct Backend {
    dev: ARef<xenbus::Device>,
    /// Held for all steps, and while the policy is read, by the thread of xenbus and the work item.
    #[pin]
    ends: Mutex<Ends>,
    /// Continues when something has failed for the moment.
    #[pin]
    retry: DelayedWork<Backend>,
    log: Arc<LogLimit>,
    policy: Arc<InForce>,
    offer: LinkOffer,
    counters: Arc<Counters>,
    /// Shows how often the guest was refused, for each reason.
    #[pin]
    _refused: debugfs::File<Arc<Refused>>,
    /// Shows the counters.
    #[pin]
    _counts: debugfs::File<Arc<Counters>>,
    /// Dropped last: no work item outlives its link.
    queues: Arc<Queues>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Backend { self.retry }
}

/// Maximum number of steps for one report of the frontend's state. A link settles within two or
/// three. A frontend that keeps changing its state causes a report with each change, and must not
/// occupy the thread that all devices share.
const MAX_STEPS: usize = 8;

/// Time in milliseconds until steps that have failed for the moment are tried again.
const RETRY_DELAY: u32 = 1000;

impl Backend {
    fn new(dev: &xenbus::Device) -> Result<Arc<Self>> {
        let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
        let queues = Queues::new()?;

        dev.restart()?;
        let counters = Counters::new()?;
        let policy = InForce::new(dev, counters.sockets.clone())?;
        let offer = LinkOffer::new(dev, dialect, policy.clone());
        let log = Arc::pin_init(LogLimit::new(), GFP_KERNEL)?;
        let dir = DEBUGFS.get().ok_or(ENODEV)?.subdir(dev.as_ref().name());
        let ends = Ends {
            is_bound: true,
            link: None,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.into(),
                ends <- new_mutex!(ends, "xensock_ends"),
                retry <- new_delayed_work!("xensock_retry"),
                log,
                _refused <- dir.read_callback_file(
                    c"refused",
                    policy.refused.clone(),
                    &|refused: &Arc<Refused>, f| refused.show(f),
                ),
                _counts <- dir.read_callback_file(
                    c"counts",
                    counters.clone(),
                    &|counters: &Arc<Counters>, f| counters.show(f),
                ),
                policy,
                offer,
                counters,
                queues,
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the steps that the states of the two ends ask for.
    fn settle(self: &Arc<Self>) {
        let mut ends = self.ends.lock();
        if ends.is_bound {
            self.take_steps(&mut ends.link);
        }
    }

    /// Reads the policy again, and takes the steps that have had to wait for it.
    fn refresh(self: &Arc<Self>) {
        let mut ends = self.ends.lock();
        if !ends.is_bound {
            return;
        }
        if let Err(error) = self.policy.read_again() {
            // Whoever has changed the policy believes that it is in force.
            let what = c"the policy stays as it was: cannot read the new one for now";
            self.retry_later(error, what);
        }
        self.take_steps(&mut ends.link);
    }

    /// Takes the steps that the states ask for. If one fails for the moment, this happens again
    /// later: the frontend has no reason to write its state once more. Called under `ends`, while
    /// the driver is bound.
    fn take_steps(self: &Arc<Self>, link: &mut Option<Arc<Link>>) {
        let result = self.offer.begin().and_then(|()| {
            for _ in 0..MAX_STEPS {
                if !self.step(link)? {
                    break;
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            trace::link(self.dev.otherend_id(), c"failed", Err(error));
            if lasts(error) {
                self.take_down(link);
                let what = c"cannot serve the frontend";
                self.log.fatal(&self.dev, error, what);
            } else {
                self.retry_later(error, c"cannot follow the frontend for now");
            }
        }
    }

    /// Queues the work item, which does everything again. Called under `ends`, while the driver is
    /// bound.
    fn retry_later(self: &Arc<Self>, error: Error, what: &'static CStr) {
        if self.log.allows() {
            self.dev.error(error, what);
        }
        // Not on a queue of the device: the end of a link waits for these. An item that is queued
        // already does it.
        let _ = workqueue::system_long()
            .enqueue_delayed::<_, 0>(self.clone(), msecs_to_jiffies(RETRY_DELAY));
    }

    /// Takes the step that the state of the frontend asks for. Returns `true` if there may be
    /// another.
    fn step(&self, link: &mut Option<Arc<Link>>) -> Result<bool> {
        let dev = &*self.dev;
        if dev.has_vanished() {
            // The directory is that of another device, and not to be removed.
            return Ok(false);
        }
        let other = dev.otherend_state()?;
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // This protocol does not use these states; they are ignored.
            return Ok(false);
        }
        let action = back_next(end_state(dev.state()), end_state(other), dev.is_online()?);
        match action {
            BackAction::Ignore => return Ok(false),
            BackAction::Offer => {
                self.take_down(link);
                if !self.offer.make()? {
                    return Ok(false);
                }
            }
            BackAction::Connect => {
                let new = match self.connect(link) {
                    Err(error) if lasts(error) => {
                        trace::link(dev.otherend_id(), c"failed", Err(error));
                        // The offer stands: the next frontend may do better.
                        if self.log.allows() {
                            dev.error(error, c"cannot connect to the frontend");
                        }
                        return Ok(false);
                    }
                    new => new?,
                };
                // The frontend may go before the next attempt, and believe that nothing is shared.
                dev.switch_state(State::Connected)
                    .inspect_err(|_| self.take_down(link))?;
                // Afterwards, as the link may fail and its state become Closing.
                new.serve();
            }
            BackAction::Recheck => {
                let address = match Address::read(dev) {
                    // The frontend has just gone; its state node is next.
                    Err(ENOENT) => return Ok(true),
                    address => address?,
                };
                if link.as_ref().map(|link| link.address()) == Some(address) {
                    return Ok(false);
                }
                self.connect(link)?.serve();
            }
            BackAction::Disconnect => {
                self.take_down(link);
                dev.switch_state(State::Closing)?;
            }
            BackAction::Close => {
                self.take_down(link);
                dev.switch_state(State::Closed)?;
            }
            BackAction::Remove => {
                self.take_down(link);
                dev.remove_own_dir()?;
                // The bus unregisters the device when its directory is gone.
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes a link, which does not serve the guest yet.
    fn connect(&self, link: &mut Option<Arc<Link>>) -> Result<Arc<Link>> {
        self.take_down(link);
        let new = Link::new(
            &self.dev,
            self.queues.clone(),
            self.log.clone(),
            self.policy.clone(),
            self.counters.clone(),
        )?;
        *link = Some(new.clone());
        self.counters.link_up();
        trace::link(self.dev.otherend_id(), c"connected", Ok(()));
        Ok(new)
    }

    /// Ends the link, if there is one. Nothing is shared with the guest afterwards.
    fn take_down(&self, link: &mut Option<Arc<Link>>) {
        if let Some(link) = link.take() {
            self.counters.link_lost();
            trace::link(link.peer(), c"lost", Ok(()));
            link.take_down();
        }
    }

    /// Ends the link for good: no steps follow. May sleep.
    fn end(self: &Arc<Self>) {
        {
            let mut ends = self.ends.lock();
            ends.is_bound = false;
            self.take_down(&mut ends.link);
        }
        // Nothing queues it again.
        let _ = cancel_delayed_sync::<_, 0>(self);
    }
}

impl WorkItem for Backend {
    type Pointer = Arc<Backend>;

    fn run(this: Arc<Backend>) {
        this.refresh();
    }
}

impl Watcher for Backend {
    /// The policy has changed.
    fn changed(this: ArcBorrow<'_, Self>, _path: &CStr) {
        let backend: Arc<Self> = this.into();
        backend.refresh();
    }
}

/// The driver's data.
pub(crate) struct Binding {
    /// Watches the policy. Nothing is done for it once the backend has ended.
    _watch: Watch<Backend>,
    backend: Arc<Backend>,
}

impl Binding {
    fn new(dev: &xenbus::Device) -> Result<Self> {
        let backend = Backend::new(dev)?;
        // The last step that can fail: a frontend may answer an offer at once.
        let watch = dev.watch(policy::DIR, backend.clone())?;
        // The C frontend of PV Calls looks for the offer when it is loaded, and never again.
        backend.settle();
        Ok(Self {
            _watch: watch,
            backend,
        })
    }
}

impl xenbus::Driver for Backend {
    type Data<'bound> = Binding;
    const SIDE: Side = Side::Backend;
    const ID_TABLE: xenbus::IdTable = &ID_TABLE;

    fn probe<'bound>(
        dev: &'bound xenbus::Device<Core<'_>>,
    ) -> impl PinInit<Binding, Error> + 'bound {
        pin_init::pin_init_scope(move || Ok(Binding::new(dev)))
    }

    fn otherend_changed<'bound>(
        _dev: &'bound xenbus::Device<Bound>,
        data: Pin<&Binding>,
        _state: State,
    ) {
        data.backend.settle();
    }

    fn unbind<'bound>(_dev: &'bound xenbus::Device<Core<'_>>, data: Pin<&Binding>) {
        data.backend.end();
        data.backend.offer.end();
    }
}

/// Converts a xenbus state to the type of the protocol's state machines.
fn end_state(state: State) -> EndState {
    EndState::from_number(state.number())
}

/// Returns `true` if the step that has failed would fail again now.
fn lasts(error: Error) -> bool {
    is_lasting(-error.to_errno())
}
