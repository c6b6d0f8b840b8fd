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
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    xen::{
        trace::xensock_back as trace,
        xenbus::{
            self,
            DeviceId,
            Side,
            State,
            Watch, //
        }, //
    },
    xenbus_device_table, //
};

xenbus_device_table!(
    ID_TABLE,
    [DeviceId::new(c"xensock"), DeviceId::new(c"pvcalls")]
);

/// The backend of one device.
#[pin_data]
pub(crate) struct Backend {
    /// The link, while it is up.
    #[pin]
    link: Mutex<Option<Arc<Link>>>,
    log: Arc<LogLimit>,
    policy: Arc<InForce>,
    offer: Arc<LinkOffer>,
    _watch: Watch<LinkOffer>,
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

/// Maximum number of steps for one report of the frontend's state. A link settles within two or
/// three. A frontend that keeps changing its state causes a report with each change, and must not
/// occupy the thread that all devices share.
const MAX_STEPS: usize = 8;

impl Backend {
    /// Takes the step that the state of the frontend asks for. Returns `true` if there may be
    /// another.
    fn step(&self, dev: &xenbus::Device<Bound>) -> Result<bool> {
        let other = dev.otherend_state();
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // This protocol does not use these states; they are ignored.
            return Ok(false);
        }
        let action = back_next(end_state(dev.state()), end_state(other), dev.is_online());
        match action {
            BackAction::Ignore => return Ok(false),
            BackAction::Offer => {
                self.take_down();
                if !self.offer.make()? {
                    return Ok(false);
                }
            }
            BackAction::Connect => {
                let link = match self.connect(dev) {
                    Ok(link) => link,
                    Err(error) => {
                        trace::link(dev.otherend_id(), c"failed", Err(error));
                        // The offer stands: the next frontend may do better.
                        if self.log.allows() {
                            dev.error(error, c"cannot connect to the frontend");
                        }
                        return Ok(false);
                    }
                };
                dev.switch_state(State::Connected)?;
                // Afterwards, as the link may fail and its state become Closing.
                link.serve();
            }
            BackAction::Recheck => {
                let address = match Address::read(dev) {
                    // The frontend has just gone; its state node is next.
                    Err(ENOENT) => return Ok(true),
                    address => address?,
                };
                if self.link.lock().as_ref().map(|link| link.address()) == Some(address) {
                    return Ok(false);
                }
                self.connect(dev)?.serve();
            }
            BackAction::Disconnect => {
                self.take_down();
                dev.switch_state(State::Closing)?;
            }
            BackAction::Close => {
                self.take_down();
                dev.switch_state(State::Closed)?;
            }
            BackAction::Remove => {
                self.take_down();
                dev.remove_own_dir()?;
                // The bus unregisters the device when its directory is gone.
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes a link, which does not serve the guest yet.
    fn connect(&self, dev: &xenbus::Device<Bound>) -> Result<Arc<Link>> {
        self.take_down();
        let link = Link::new(
            dev,
            self.queues.clone(),
            self.log.clone(),
            self.policy.clone(),
            self.counters.clone(),
        )?;
        *self.link.lock() = Some(link.clone());
        self.counters.link_up();
        trace::link(dev.otherend_id(), c"connected", Ok(()));
        Ok(link)
    }

    /// Ends the link, if there is one. Nothing is shared with the guest afterwards.
    fn take_down(&self) {
        let link = self.link.lock().take();
        if let Some(link) = link {
            self.counters.link_lost();
            trace::link(link.peer(), c"lost", Ok(()));
            link.take_down();
        }
    }
}

impl xenbus::Driver for Backend {
    type Data<'bound> = Self;
    const SIDE: Side = Side::Backend;
    const ID_TABLE: xenbus::IdTable = &ID_TABLE;

    fn probe<'bound>(dev: &'bound xenbus::Device<Core<'_>>) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
            let queues = Queues::new()?;

            if dev.state() != State::Initialising {
                dev.switch_state(State::Initialising)?;
            }
            let counters = Counters::new()?;
            let policy = InForce::new(dev.normal(), counters.sockets.clone())?;
            let offer = LinkOffer::new(dev.normal(), dialect, policy.clone())?;
            let watch = dev.watch(policy::DIR, offer.clone())?;
            offer.begin()?;
            let log = Arc::pin_init(LogLimit::new(), GFP_KERNEL)?;
            let dir = DEBUGFS.get().ok_or(ENODEV)?.subdir(dev.as_ref().name());
            Ok(try_pin_init!(Self {
                link <- new_mutex!(None, "xensock_link"),
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
                _watch: watch,
                counters,
                queues,
            }))
        })
    }

    fn otherend_changed<'bound>(
        dev: &'bound xenbus::Device<Bound>,
        data: Pin<&Self>,
        _state: State,
    ) {
        for _ in 0..MAX_STEPS {
            match data.step(dev) {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => {
                    data.take_down();
                    trace::link(dev.otherend_id(), c"failed", Err(error));
                    data.log.fatal(dev, error, c"cannot serve the frontend");
                    break;
                }
            }
        }
    }

    fn unbind<'bound>(dev: &'bound xenbus::Device<Core<'_>>, data: Pin<&Self>) {
        data.take_down();
        data.offer.end(dev);
    }
}

/// Converts a xenbus state to the type of the protocol's state machines.
fn end_state(state: State) -> EndState {
    EndState::from_number(state.number())
}
