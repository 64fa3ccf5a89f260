//! One connection to Redis, from its making to the first sign of trouble.

use std::collections::HashMap;

use flexcore_actors::domain::ids::Incarnation;
use flexcore_actors::ports::cluster::{Heard, Hint};
use fred::clients::Client;
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface};
use fred::prelude::{Builder, Error};
use fred::types::{Expiration, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use super::{ANSWER, BEACON, KEY_SECONDS, SENDERS, SILENCE, Station};

/// What is published, MessagePack with named fields. Without a hint it is a beacon.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: Incarnation,
    /// Rises by one with each note of a sender.
    sequence: u64,
    hint: Option<Hint>,
}

/// Why a session is over.
pub(super) enum Ended {
    Lost {
        why: String,
        /// Whether a hint went down with it.
        unsent: bool,
    },
    NobodyListens,
}

pub(super) struct Session {
    publisher: Client,
    subscriber: Client,
    messages: broadcast::Receiver<Message>,
    channel: String,
}

impl Session {
    pub(super) async fn open(builder: &Builder, station: &Station) -> Result<Self, Error> {
        let (publisher, subscriber) = (builder.build()?, builder.build()?);
        let messages = subscriber.message_rx();
        let channel = format!("{}hints", station.prefix);
        let session = Self { publisher, subscriber, messages, channel };
        match session.connect().await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<(), Error> {
        self.publisher.init().await?;
        self.subscriber.init().await?;
        self.subscriber.subscribe(self.channel.as_str()).await
    }

    /// Publishes what waits and tells what is heard, until something is wrong.
    pub(super) async fn serve(
        &mut self,
        station: &Station,
        sequence: &mut u64,
        waiting: &mut mpsc::Receiver<Hint>,
        tell: &mpsc::Sender<Heard>,
    ) -> Ended {
        let mut senders = Senders::default();
        let mut last_own = Instant::now();
        let mut beacon = interval(BEACON);
        loop {
            let hint = tokio::select! {
                message = self.messages.recv() => {
                    let (own, heard) = senders.hear(station.incarnation, message);
                    if own {
                        last_own = Instant::now();
                    }
                    for heard in heard {
                        // whoever does not listen is told once that there was more
                        if tell.try_send(heard).is_err() {
                            senders.missed = true;
                        }
                    }
                    if senders.closed {
                        return Ended::Lost { why: "the subscription ended".to_owned(), unsent: false };
                    }
                    continue;
                }
                hint = waiting.recv() => match hint {
                    Some(hint) => Some(hint),
                    None => return Ended::NobodyListens,
                },
                _ = beacon.tick() => None,
            };
            if last_own.elapsed() > SILENCE {
                let why = format!("the node has not heard itself for {} s", SILENCE.as_secs());
                return Ended::Lost { why, unsent: hint.is_some() };
            }
            if senders.missed && tell.try_send(Heard::Gap).is_ok() {
                senders.missed = false;
            }
            *sequence += 1;
            if let Err(error) = self.send(station, *sequence, hint.clone()).await {
                return Ended::Lost { why: error.to_string(), unsent: hint.is_some() };
            }
        }
    }

    async fn send(&self, station: &Station, sequence: u64, hint: Option<Hint>) -> Result<(), Error> {
        let beacon = hint.is_none();
        let note = Note { from: station.incarnation, sequence, hint };
        let note = rmp_serde::to_vec_named(&note).expect("numbers, names and a uuid can be encoded");
        let _: i64 = self.publisher.publish(self.channel.as_str(), note.as_slice()).await?;
        if beacon {
            let key = format!("{}node:{}", station.prefix, station.node);
            let life = station.incarnation.to_string();
            let lasts = Some(Expiration::EX(KEY_SECONDS));
            let _: () = self.publisher.set(key, life, lasts, None, false).await?;
        }
        Ok(())
    }

    pub(super) async fn close(&self) {
        for client in [&self.subscriber, &self.publisher] {
            // one that does not answer is dropped
            drop(timeout(ANSWER, client.quit()).await);
        }
    }
}

/// The numbers of those who were heard.
#[derive(Default)]
struct Senders {
    last: HashMap<Incarnation, u64>,
    /// Something was heard that could not be passed on.
    missed: bool,
    closed: bool,
}

impl Senders {
    /// Whether it is the node's own, and what there is to tell.
    fn hear(&mut self, own: Incarnation, message: Result<Message, RecvError>) -> (bool, Vec<Heard>) {
        let message = match message {
            Ok(message) => message,
            Err(RecvError::Lagged(_)) => return (false, vec![Heard::Gap]),
            Err(RecvError::Closed) => {
                self.closed = true;
                return (false, Vec::new());
            }
        };
        let note = message.value.as_bytes().and_then(|bytes| rmp_serde::from_slice::<Note>(bytes).ok());
        // what nobody of this version says leads nowhere
        let Some(Note { from, sequence, hint }) = note else { return (false, Vec::new()) };
        if from == own {
            return (true, Vec::new());
        }
        if self.last.len() >= SENDERS {
            self.last.clear();
        }
        let before = self.last.insert(from, sequence);
        let gap = before.is_some_and(|before| before.checked_add(1) != Some(sequence));
        let hint = hint.map(|hint| Heard::Hint { from, hint });
        (false, gap.then_some(Heard::Gap).into_iter().chain(hint).collect())
    }
}
