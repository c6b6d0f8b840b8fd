// SPDX-License-Identifier: GPL-2.0

//! The means by which a link reaches its backend: negotiated features, requests and responses, and
//! the resources that data rings share.

use crate::{
    commands::{
        Commands,
        Exchange,
        Priority,
        ReadyResponse,
        Recipient,
        Releases, //
    },
    counters::Counters,
    module_parameters,
    proto::{
        call::SOCK_DGRAM,
        node::{
            self,
            Offer, //
        },
        ring::Order,
        rule::route::DeviceName,
        Call,
        Dialect,
        Feature,
        Features,
        Request, //
    },
    quirks::{
        self,
        Quirks, //
    },
    shared_channel::{
        Opened,
        SharedChannel, //
    }, //
};
use kernel::{
    net::addr::Domain,
    new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    },
    workqueue::owned::OwnedQueue,
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        grant::GrantedPages,
        ring::FrontRing,
        xenbus::{
            self,
            Dir, //
        }, //
    }, //
};

/// Reads the backend's offer, limited to what this driver knows and the administrator allows, and
/// the dialect that both ends have. Fails with `EOPNOTSUPP` for an unusable backend.
fn read_offer(dev: &xenbus::Device, device: Dialect) -> Result<(Dialect, Offer)> {
    let number = |node| match dev.read_u32(Dir::Otherend, node) {
        Ok(number) => Ok(Some(number)),
        Err(ENOENT) => Ok(None),
        Err(error) => Err(error),
    };
    let dialect = Dialect::of_link(device, number(node::NATIVE_OFFERED)?);
    let max_page_order = dev.read_u32(Dir::Otherend, node::MAX_PAGE_ORDER)?;
    let max_page_order = match (device, dialect) {
        // There, MAX_PAGE_ORDER has to suit the C frontend.
        (Dialect::PvCalls, Dialect::XenSock) => {
            number(node::NATIVE_MAX_PAGE_ORDER)?.unwrap_or(max_page_order)
        }
        _ => max_page_order,
    };
    let offer = Offer::read(
        dialect,
        &dev.read(Dir::Otherend, node::VERSIONS)?,
        max_page_order,
        number(node::FUNCTION_CALLS)?,
        Features::read(dialect, |feature| number(feature.offered()))?
            .within(module_parameters::features.value()),
    )
    .ok_or(EOPNOTSUPP)?;
    Ok((dialect, offer))
}

/// The last handle that a socket was given.
static LAST_ID: Atomic<u64> = Atomic::new(0);

/// Reads the name of a device.
pub(crate) fn read_name(dev: &xenbus::Device) -> Result<DeviceName> {
    let name = dev.as_ref().name().to_str().map_err(|_| ENODEV)?;
    name.parse().map_err(|_| ENODEV)
}

/// The commands ring and the channels of a link.
#[pin_data]
pub(crate) struct Transport {
    pub(crate) dev: ARef<xenbus::Device>,
    /// The device of the link.
    pub(crate) name: DeviceName,
    /// The device's dialect; the link may use another one.
    device: Dialect,
    dialect: Dialect,
    offer: Offer,
    pub(crate) counters: Arc<Counters>,
    #[pin]
    commands: SpinLockIrq<Commands>,
    /// The channel that data rings share, with [`Feature::SharedChannel`].
    news: Option<Opened<GrantedPages>>,
    has_warned: Atomic<bool>,
}

impl Transport {
    /// Sets up the commands ring. `failures` runs work items that must not wait for the backend.
    /// May sleep.
    pub(crate) fn new<'a>(
        dev: &'a xenbus::Device,
        failures: Arc<OwnedQueue>,
        counters: Arc<Counters>,
    ) -> impl PinInit<Self, Error> + 'a {
        pin_init::pin_init_scope(move || {
            let device = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
            let name = read_name(dev)?;
            let (dialect, offer) = read_offer(dev, device)?;
            let page = GrantedPages::new(dev.otherend_id(), 1, GFP_KERNEL)?;
            let commands = Commands::new(dialect, FrontRing::new(page)?, counters.clone());
            let news = if offer.features.has(Feature::SharedChannel) {
                let page = GrantedPages::new(dev.otherend_id(), 1, GFP_KERNEL)?;
                Some(Opened::alloc(dev, page, failures)?)
            } else {
                None
            };
            Ok(try_pin_init!(Self {
                dev: dev.into(),
                name,
                device,
                dialect,
                offer,
                counters,
                commands <- new_spinlock_irq!(commands, "xensock_commands"),
                news,
                has_warned: Atomic::new(false),
            }))
        })
    }

    /// Opens the event channel of the commands ring with `handler`, and writes the nodes for the
    /// backend. May sleep.
    pub(crate) fn open<H: Handler>(&self, dev: &xenbus::Device, handler: Arc<H>) -> Result {
        let channel = EventChannel::alloc(dev, c"xensock-commands", handler)?;
        let port = channel.port();
        let channel = KBox::new(channel, GFP_KERNEL)?;
        let grant = {
            let mut commands = self.commands.lock();
            commands.channel = Some(channel);
            commands.grant()
        };

        dev.transaction(|t| {
            t.write(node::VERSION, fmt!("{}", node::THE_VERSION))?;
            t.write(node::RING_REF, fmt!("{grant}"))?;
            t.write(node::PORT, fmt!("{port}"))?;
            if let Some(news) = &self.news {
                let grant = news.page().refs().first().ok_or(EINVAL)?;
                t.write(node::NEWS_REF, fmt!("{grant}"))?;
                t.write(node::NEWS_PORT, fmt!("{}", news.port()))?;
            }
            if self.device == Dialect::PvCalls {
                let is_native = u32::from(self.dialect == Dialect::XenSock);
                t.write(node::NATIVE_TAKEN, fmt!("{is_native}"))?;
            }
            if self.quirks().has_features() {
                for feature in Feature::ALL {
                    let uses = u32::from(self.has(feature));
                    t.write(feature.taken(), fmt!("{uses}"))?;
                }
            }
            Ok(())
        })
    }

    /// Closes the commands ring: no request is sent from here on, and no response arrives. May
    /// sleep.
    pub(crate) fn close(&self) {
        let closed = self.commands.lock().close();
        // Outside the lock: this waits for the handler of the channel, and revokes grants.
        drop(closed);
        if let Some(news) = &self.news {
            news.close();
            news.page().revoke();
        }
    }

    /// Returns the name of the link's device.
    pub(crate) fn device_name(&self) -> &CStr {
        self.dev.as_ref().name()
    }

    /// Returns the differences between the backend and one of XenSock.
    pub(crate) fn quirks(&self) -> &'static dyn Quirks {
        quirks::of(self.dialect)
    }

    /// Returns the features of the link.
    pub(crate) fn features(&self) -> Features {
        self.offer.features
    }

    /// Returns `true` if the link has a feature.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.offer.features.has(feature)
    }

    /// Returns the channel that data rings share, if they do.
    pub(crate) fn shared_channel(&self) -> Option<&Arc<SharedChannel<GrantedPages>>> {
        self.news.as_ref().map(Opened::channel)
    }

    /// Returns the largest order of a ring that the backend maps.
    pub(crate) fn max_order(&self) -> Order {
        self.offer.max_order
    }

    /// Returns `true` until the link goes down. Any context.
    pub(crate) fn is_up(&self) -> bool {
        self.commands.lock().is_open()
    }

    /// Returns a handle for a new socket. The handle is unique over all links, so traces identify a
    /// socket by it. 64 bits are never used up.
    pub(crate) fn new_id(&self) -> u64 {
        LAST_ID.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Checks that the backend supports sockets of a kind and family.
    pub(crate) fn check_kind(&self, kind: u32, domain: Domain) -> Result {
        if kind == SOCK_DGRAM && !self.has(Feature::Datagram) {
            return Err(ESOCKTNOSUPPORT);
        }
        if domain == Domain::Inet6 && !self.quirks().has_ipv6() {
            return Err(EAFNOSUPPORT);
        }
        Ok(())
    }

    /// Creates a request of the user `owner` that can be submitted. Fails with `EOPNOTSUPP` if the
    /// dialect does not have it.
    pub(crate) fn exchange(&self, owner: u64, call: Call) -> Result<Arc<Exchange>> {
        let request = Request { req_id: 0, call };
        request.encode(self.dialect).ok_or(EOPNOTSUPP)?;
        Exchange::new(&self.commands, owner, call)
    }

    /// Sends a request, or queues it. `recipient` is notified of the response. Any context.
    ///
    /// If the link is down, the exchange ends with `ENETDOWN`. A connection ends with its link.
    pub(crate) fn submit(&self, exchange: &Arc<Exchange>, recipient: Option<Arc<dyn Recipient>>) {
        self.submit_with(exchange, recipient, Priority::Awaited, || {});
    }

    /// As [`Self::submit`], with the given priority. Calls `then` before the link can go down.
    pub(crate) fn submit_with(
        &self,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
        priority: Priority,
        then: impl FnOnce(),
    ) {
        let is_submitted = {
            let mut commands = self.commands.lock();
            let is_submitted = commands.submit(exchange, recipient, priority);
            if is_submitted {
                then();
            }
            is_submitted
        };
        if !is_submitted {
            exchange.finish(Err(ENETDOWN));
        }
    }

    /// Calls `what` before the link goes down, or not at all if it has. Any context; `what` must not
    /// sleep.
    pub(crate) fn while_up(&self, what: impl FnOnce()) {
        let commands = self.commands.lock();
        if commands.is_open() {
            what();
        }
    }

    /// Publishes [deferred](Priority::Deferred) requests to the backend. Any context.
    pub(crate) fn publish_deferred(&self) {
        self.commands.lock().publish();
    }

    /// Asks for an event with each response. The caller has to take those that have arrived. Any
    /// context.
    pub(crate) fn flush_commands(&self) {
        self.commands.lock().flush();
    }

    /// Returns `true` if a POLL of this socket waits, see [`Commands::is_polling`].
    pub(crate) fn is_polling(&self, id: u64) -> bool {
        self.commands.lock().is_polling(id)
    }

    /// Returns `true` if an ACCEPT of this listening socket waits, see [`Commands::is_accepting`].
    pub(crate) fn is_accepting(&self, id: u64) -> bool {
        self.commands.lock().is_accepting(id)
    }

    /// Returns the number of lost slots in the commands ring, see [`Commands::lost_slots`].
    pub(crate) fn lost_slots(&self) -> usize {
        self.commands.lock().lost_slots()
    }

    /// Returns the RELEASE exchanges that are not answered, see [`Commands::releases`].
    pub(crate) fn releases(&self) -> Releases {
        self.commands.lock().releases()
    }

    /// Begins to take responses, see [`Commands::begin_taking`]. Any context.
    pub(crate) fn begin_taking(&self) -> bool {
        self.commands.lock().begin_taking()
    }

    /// Takes the next response from the backend, see [`Commands::next_response`]. Any context.
    pub(crate) fn next_response(&self) -> Result<Option<ReadyResponse>> {
        self.commands.lock().next_response()
    }

    /// Ends all exchanges without a response with `ENETDOWN`, after [`close`](Self::close). May
    /// sleep.
    pub(crate) fn end_unanswered(&self) {
        loop {
            let unanswered = self.commands.lock().next_unanswered();
            match unanswered {
                Some(ready) => ready.deliver(),
                None => break,
            }
        }
    }

    /// Logs what the backend did wrong, once for each link.
    pub(crate) fn warn_once(&self, what: &CStr) {
        if !self.has_warned.xchg(true, Full) {
            dev_err!(self.dev.as_ref(), "backend: {}\n", what);
        }
    }
}
