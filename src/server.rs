//! The server: starts the threads, knows their order, ends them in order.

use crate::clock;
use crate::config::{Settings, differing};
use crate::door::admission::Seats;
use crate::door::{self, entrances::Entrances};
use crate::error::{ReloadError, StartError};
use crate::limits::SLOTS_RESERVED_MAX;
use crate::mailbox::{Mailbox, Sleeper};
use crate::operator::{self, Operator};
use crate::ports;
use crate::sequencer::core::Sequencer;
use crate::sequencer::publisher::Publisher;
use crate::sequencer::request::{Reply, Request};
use crate::sequencer::rules::Rules;
use crate::shard::command::{Command, Drain, Who};
use crate::shard::directory::{Directory, ShardHandle};
use crate::shard::register::Register;
use crate::shard::shell::driver;
use crate::shard::shell::outfit::Outfit;
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::sync::Parker;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tokio::sync::{Notify, watch};

/// How far apart closes of an orderly shutdown lie at most: few connections need not wait for long.
const CLOSE_SPACING: Duration = Duration::from_millis(5);

/// A running broadcaster. Dropping it ends it at once; [`Server::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Server {
    websocket: SocketAddr,
    tcp: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    operator: SocketAddr,
    publisher: Publisher,
    directory: Arc<Directory>,
    settings: Arc<Settings>,
    stopping: watch::Sender<bool>,
    doors: Option<Runtime>,
    control: Option<Runtime>,
    /// One word from each thread that ends; closed when all have.
    ended: Receiver<()>,
    threads: usize,
    register: Arc<Register>,
    /// Closed when everything in the register has been told.
    kept: Option<Receiver<()>>,
}

/// Configures a server.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// All settings at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Where WebSocket clients connect; port 0 takes any free one.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.settings.listen = address;
        self
    }

    /// Where TCP clients connect; port 0 takes any free one.
    pub fn tcp(mut self, address: SocketAddr) -> Self {
        self.settings.tcp = Some(address);
        self
    }

    /// Where datagrams come; port 0 takes any free one.
    pub fn udp(mut self, address: SocketAddr) -> Self {
        self.settings.udp = Some(address);
        self
    }

    /// Where the operator's HTTP listens; port 0 takes any free one.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.settings.admin = address;
        self
    }

    /// How many shards, a thread each; 0 for one per core.
    pub fn shards(mut self, shards: usize) -> Self {
        self.settings.shards = shards;
        self
    }

    /// Binds every port, starts every thread.
    ///
    /// # Errors
    /// A setting contradicts another, a port is taken, or the system refuses a thread. Nothing is left running.
    pub fn start(self) -> Result<Server, StartError> {
        Server::start(self.settings)
    }
}

impl Server {
    /// A server with default settings, to be changed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address WebSocket clients connect to.
    pub fn websocket_address(&self) -> SocketAddr {
        self.websocket
    }

    /// The address TCP clients connect to, where there is one.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The address datagrams are sent to, where there is one.
    pub fn udp_address(&self) -> Option<SocketAddr> {
        self.udp
    }

    /// The address of the operator's HTTP.
    pub fn operator_address(&self) -> SocketAddr {
        self.operator
    }

    /// A handle to publish with.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    fn start(settings: Settings) -> Result<Self, StartError> {
        settings.validate().map_err(|error| StartError::Setting(error.to_string()))?;
        let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
        let connections_max = settings.connections_max(descriptors);
        if settings.limits.connections > connections_max {
            tracing::warn!(
                asked = settings.limits.connections,
                allowed = connections_max,
                "the descriptor limit allows fewer connections than asked for; raise `ulimit -Hn`"
            );
        }
        let settings = Arc::new(settings);
        let websocket = ports::bind(settings.listen)?;
        let tcp = settings.tcp.map(ports::bind).transpose()?;
        let datagrams =
            settings.udp.map(|udp| ports::bind_datagrams(udp, settings.shard_count())).transpose()?;
        let operator = ports::bind(settings.admin)?;
        let mut groups = ports::open_groups(&settings.topics)?;
        let limits = &settings.limits;

        let parker = Parker::new();
        let wake_sequencer = || Sleeper::Thread(parker.unparker().clone());
        let room = Arc::new(Notify::new());
        let requests = Arc::new(Mailbox::new(
            limits.sequencer_frames,
            limits.sequencer_bytes,
            wake_sequencer(),
            Sleeper::Tasks(room.clone()),
        ));
        let publisher = Publisher::new(requests.clone(), room, limits.message_bytes);
        let handles: Vec<_> = (0..settings.shard_count())
            .map(|id| ShardHandle::new(id as u16, limits.inbox_frames, limits.inbox_bytes, wake_sequencer()))
            .collect();
        let directory = Arc::new(Directory::new(handles.clone()));
        let threads = handles.len() + 1;
        let (end, ended) = bounded(threads);
        let (stopping, _) = watch::channel(false);
        let rules = Rules::new(settings.topics.clone(), limits);
        let sequencer = Sequencer::new(settings.shard_count(), limits, clock::unix_micros())
            .under(rules)
            .with_second(settings.identity.second_session);
        let (shards, ending) = (directory.clone(), end.clone());
        std::thread::Builder::new().name("sequencer".into()).spawn(move || {
            run_sequencer(sequencer, &requests, &shards, &parker);
            let _ = ending.send(());
        })?;
        // From here on a drop ends what runs: the sequencer, told to, ends the shards.
        let mut server = Self {
            websocket: websocket.local_addr()?,
            tcp: tcp.as_ref().map(TcpListener::local_addr).transpose()?,
            udp: datagrams.as_ref().and_then(|all| all.first()).map(UdpSocket::local_addr).transpose()?,
            operator: operator.local_addr()?,
            publisher,
            directory,
            settings,
            stopping,
            doors: None,
            control: None,
            ended,
            threads,
            register: Arc::new(Register::new()),
            kept: None,
        };
        let slots = connections_max.min(SLOTS_RESERVED_MAX).div_ceil(handles.len());
        let seats = Seats::new(connections_max, server.settings.limits.connections_per_address);
        let mut datagrams = datagrams.into_iter().flatten();
        for handle in handles {
            let outfit = Outfit {
                handle,
                publisher: server.publisher(),
                settings: server.settings.clone(),
                register: server.register.clone(),
                seats: seats.beside(),
                datagrams: datagrams.next(),
                groups: std::mem::take(&mut groups),
                slots,
            };
            let end = end.clone();
            std::thread::Builder::new().name(format!("shard-{}", outfit.handle.id)).spawn(move || {
                run_shard(outfit);
                let _ = end.send(());
            })?;
        }
        server.open((websocket, tcp), operator, seats)?;
        Ok(server)
    }

    /// Opens the doors and the operator's port.
    fn open(
        &mut self,
        (websocket, tcp): (TcpListener, Option<TcpListener>),
        operator: TcpListener,
        seats: Seats,
    ) -> io::Result<()> {
        let doors = runtime("door", self.settings.door_count())?;
        let tcp = tcp.map(|tcp| listen_on(&doors, tcp)).transpose()?;
        let entrances = Entrances { websocket: listen_on(&doors, websocket)?, tcp };
        let (directory, settings) = (self.directory.clone(), self.settings.clone());
        doors.spawn(door::accept(entrances, directory, settings, seats, self.stopping.subscribe()));
        self.doors = Some(doors);

        let control = runtime("control", 1)?;
        let listener = listen_on(&control, operator)?;
        let desk = Operator {
            publisher: self.publisher.clone(),
            directory: self.directory.clone(),
            settings: self.settings.clone(),
            stopping: self.stopping.subscribe(),
        };
        let (keeping, kept) = bounded(0);
        let kept_by = operator::system::keep(self.register.clone(), desk.clone());
        control.spawn(async move {
            kept_by.await;
            drop::<Sender<()>>(keeping);
        });
        self.kept = Some(kept);
        control.spawn(operator::system::tell_figures(desk.clone()));
        control.spawn(operator::serve(listener, desk));
        self.control = Some(control);
        Ok(())
    }

    /// Puts the topic rules of these settings in force, and returns the names of the other settings that are not
    /// as the server was started with: they need a restart.
    ///
    /// # Errors
    /// The settings are not valid, and nothing has changed; or the server is shutting down.
    pub async fn reload(&self, settings: &Settings) -> Result<Vec<String>, ReloadError> {
        settings.validate()?;
        let rules = Rules::new(settings.topics.clone(), &self.settings.limits);
        let request = Request::Rules(Box::new(rules));
        self.publisher.send(request).await.map_err(|_| ReloadError::Closed)?;
        Ok(differing(&self.settings, settings))
    }

    /// Ends in order, within `drain_s`: doors shut; every client gets a notice; subscribers are closed with 1012
    /// at moments spread out while data still flows; publishers are closed; what was accepted is sequenced and
    /// delivered; threads end. Blocks the calling thread meanwhile.
    pub fn shutdown(mut self) {
        let began = clock::now();
        let drain = Duration::from_secs(self.settings.drain_s);
        let finish_by = began + drain.mul_f64(0.95);
        self.stop_doors();
        let connections: usize = self.directory.load().iter().map(ShardHandle::load).sum();
        let spread = (CLOSE_SPACING * u32::try_from(connections).unwrap_or(u32::MAX)).min(drain.mul_f64(0.4));
        for (who, spread) in [(Who::Subscribers, spread), (Who::Publishers, spread.min(drain.mul_f64(0.05)))]
        {
            self.drain(who, spread, finish_by);
        }
        self.publisher.close();
        for _ in 0..self.threads {
            let left = finish_by.since(clock::now()) + drain.mul_f64(0.05);
            if self.ended.recv_timeout(left).is_err() {
                tracing::warn!("the drain took longer than drain_s; ending all the same");
                break;
            }
        }
        self.register.close();
        let left = finish_by.since(clock::now()) + drain.mul_f64(0.05);
        self.kept.take().map(|kept| kept.recv_timeout(left));
    }

    /// Has every shard close one kind of connections; waits until each has been sent its close.
    fn drain(&self, who: Who, spread: Duration, finish_by: clock::Moment) {
        let shards = self.directory.load();
        let (tell, told) = bounded(shards.len());
        let until = clock::now() + spread;
        let mut asked = 0;
        for shard in shards.iter() {
            let tell = tell.clone();
            let done = Reply::new(move |()| {
                let _ = tell.send(());
            });
            let retry_after = spread.max(Duration::from_secs(1));
            let command = Command::Drain(Drain { who, until, finish_by, retry_after, done });
            asked += usize::from(shard.commands.post(command).is_ok());
        }
        for _ in 0..asked {
            if told.recv_timeout(finish_by.since(clock::now())).is_err() {
                return;
            }
        }
    }

    fn stop_doors(&mut self) {
        self.stopping.send_replace(true);
        if let Some(doors) = self.doors.take() {
            doors.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_doors();
        self.publisher.close();
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

/// Runs the sequencer to its end. Should it panic, its queue closes: publishers are told, and so is `/readyz`.
fn run_sequencer(core: Sequencer, requests: &Mailbox<Request>, directory: &Arc<Directory>, parker: &Parker) {
    let run = || crate::sequencer::run::run(core, requests, directory, parker);
    if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("the sequencer panicked; nothing is published any more: restart the server");
        // Whoever waits, for room or for an answer, is told.
        requests.close();
        while requests.take().is_some() {}
        requests.vacancy.ring();
    }
}

/// Runs a shard to its end. Should its own code panic, its mailboxes close: nobody waits for it, `/readyz` says
/// so, and the other shards go on.
fn run_shard(outfit: Outfit) {
    let ShardHandle { inbox, commands, id, .. } = outfit.handle.clone();
    let run = || driver::run(outfit);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(run));
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(shard = id, %error, "a shard failed; its connections are gone"),
        Err(_) => tracing::error!(shard = id, "a shard panicked; its connections are gone"),
    }
    inbox.close();
    commands.close();
    while commands.take().is_some() {}
    while inbox.take().is_some() {}
    inbox.vacancy.ring();
}

fn listen_on(runtime: &Runtime, listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    let _inside = runtime.enter();
    tokio::net::TcpListener::from_std(listener)
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    RuntimeBuilder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}
