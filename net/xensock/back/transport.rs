// SPDX-License-Identifier: GPL-2.0

//! The transport of a link: the agreed dialect and features, the commands ring, and the channel
//! that data rings share.

use crate::{
    commands::Commands,
    counters::Counters,
    log::LogLimit,
    policy::InForce,
    poller::Poller,
    proto::{
        errno,
        node,
        Body,
        Command,
        Dialect,
        Feature,
        Features,
        Response, //
    },
    queues::Queues,
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
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full, //
        },
        Arc,
        Mutex, //
    },
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        grant::MappedPages,
        ring::BackRing,
        trace::xensock_back as trace,
        xenbus::{
            self,
            Dir, //
        },
        DomId,
        GrantRef,
        Port, //
    }, //
};

/// The features that this backend offers.
pub(crate) const OFFERED: Features = Features::ALL;

/// The channel that the data rings of a link share, and the poller of their news.
pub(crate) type Shared = (Arc<SharedChannel<MappedPages>>, Arc<Poller>);

/// The location of a guest's commands ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    ring_ref: u32,
    port: u32,
}

impl Address {
    pub(crate) fn read(dev: &xenbus::Device) -> Result<Self> {
        Ok(Self {
            ring_ref: dev.read_u32(Dir::Otherend, node::RING_REF)?,
            port: dev.read_u32(Dir::Otherend, node::PORT)?,
        })
    }
}

/// The channel that the data rings of a link share, and the poller of their news. Dropping it ends
/// both, and sleeps.
struct News {
    channel: Opened<MappedPages>,
    poller: Arc<Poller>,
}

impl Drop for News {
    fn drop(&mut self) {
        self.poller.close();
    }
}

/// The commands ring and the channels of a link.
#[pin_data]
pub(crate) struct Transport {
    dev: ARef<xenbus::Device>,
    dialect: Dialect,
    pub(crate) quirks: &'static dyn Quirks,
    features: Features,
    address: Address,
    /// The queues for the work items of the link.
    pub(crate) queues: Arc<Queues>,
    #[pin]
    pub(crate) commands: Commands,
    /// With [`Feature::SharedChannel`], until the link is down.
    #[pin]
    news: Mutex<Option<News>>,
    counters: Arc<Counters>,
    log: Arc<LogLimit>,
    has_warned: Atomic<bool>,
}

impl Transport {
    /// Maps the commands ring of a guest. May sleep.
    pub(crate) fn new<'a>(
        dev: &'a xenbus::Device,
        queues: Arc<Queues>,
        log: Arc<LogLimit>,
        in_force: Arc<InForce>,
        counters: Arc<Counters>,
    ) -> impl PinInit<Self, Error> + 'a {
        pin_init::pin_init_scope(move || {
            let device = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
            let native = dev.read_u32_or(Dir::Otherend, node::NATIVE_TAKEN, 0)?;
            let dialect = Dialect::of_link(device, Some(native));
            let address = Address::read(dev)?;
            let features = Features::read(dialect, |feature| {
                dev.read_u32_or(Dir::Otherend, feature.taken(), 0).map(Some)
            })?;
            if !OFFERED.includes(features) {
                return Err(EPROTO);
            }
            let page = MappedPages::new(dev.otherend_id(), &[GrantRef::new(address.ring_ref)])?;
            let ring = BackRing::new(page)?;
            let news = if features.has(Feature::SharedChannel) {
                let news_ref = dev.read_u32(Dir::Otherend, node::NEWS_REF)?;
                let port = Port::new(dev.read_u32(Dir::Otherend, node::NEWS_PORT)?);
                let page = MappedPages::new(dev.otherend_id(), &[GrantRef::new(news_ref)])?;
                let channel = Opened::bind(dev, port, page, queues.commands.clone())?;
                let poller = Poller::new(
                    dev.otherend_id(),
                    channel.channel().clone(),
                    queues.clone(),
                    in_force,
                )?;
                Some(News { channel, poller })
            } else {
                None
            };
            let quirks = quirks::of(dialect);
            Ok(try_pin_init!(Self {
                dev: dev.into(),
                dialect,
                quirks,
                features,
                address,
                queues,
                commands <- Commands::new(ring),
                news <- new_mutex!(news, "xensock_news"),
                counters,
                log,
                has_warned: Atomic::new(false),
            }))
        })
    }

    /// Binds to the channel of the commands ring; `handler` receives its events. May sleep.
    ///
    /// There is no event for requests sent before that.
    pub(crate) fn open<H: Handler>(&self, dev: &xenbus::Device, handler: Arc<H>) -> Result {
        let port = Port::new(self.address.port);
        let channel = EventChannel::bind(dev, port, c"xensock-commands", handler)?;
        self.commands.open(channel)
    }

    /// Closes the transport: afterwards no request comes and no response is sent. May sleep.
    pub(crate) fn close(&self) {
        self.commands.close();
        // This ends the polling and closes the channel; the page stays while a ring is left.
        let news = self.news.lock().take();
        drop(news);
    }

    /// Returns the device of the link.
    pub(crate) fn dev(&self) -> &xenbus::Device {
        &self.dev
    }

    /// Returns the domain id of the guest.
    pub(crate) fn peer(&self) -> DomId {
        self.dev.otherend_id()
    }

    /// Returns the location of the guest's commands ring.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// Returns the dialect of the link.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the features of the link.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Returns `true` if the link has the feature.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Returns the channel that data rings share, with its poller, or `None` if they share none.
    /// `ENETDOWN` once the link is down.
    pub(crate) fn shared_channel(&self) -> Result<Option<Shared>> {
        if !self.has(Feature::SharedChannel) {
            return Ok(None);
        }
        let news = self.news.lock();
        let news = (*news).as_ref().ok_or(ENETDOWN)?;
        Ok(Some((news.channel.channel().clone(), news.poller.clone())))
    }

    /// Reports a mistake of the guest: to the tracepoint, and at most once for each link to the
    /// log.
    pub(crate) fn warn_once(&self, what: &CStr) {
        trace::error(self.peer(), what);
        if !self.has_warned.xchg(true, Full) && self.log.allows() {
            dev_warn!(self.dev.as_ref(), "guest: {}\n", what);
        }
    }

    /// Ends the link because of a mistake of the guest.
    pub(crate) fn fail(&self, what: &'static CStr) {
        trace::error(self.peer(), what);
        self.log.fatal(&self.dev, EPROTO, what);
    }

    /// Sends a response.
    pub(crate) fn respond(&self, response: &Response) {
        let (slot, len) = response.encode(self.dialect);
        self.commands.respond(slot.get(..len).unwrap_or(&slot), || {
            trace::command(
                self.peer(),
                response.req_id,
                || self.name_of(response.cmd),
                response.id,
                response.ret,
            );
            self.counters.count_response(response.ret);
        });
    }

    /// Returns the name of a command, or `?` for an unknown number.
    fn name_of(&self, cmd: u32) -> &'static CStr {
        self.dialect.command(cmd).map_or(c"?", Command::name)
    }

    /// Answers the request of `ticket` with the result.
    pub(crate) fn answer(&self, ticket: Response, result: Result<Body>) {
        let (ret, body) = match result {
            Ok(body) => (0, body),
            Err(error) => (errno::to_wire(-error.to_errno()), Body::Empty),
        };
        self.respond(&Response {
            ret,
            body,
            ..ticket
        });
    }
}
