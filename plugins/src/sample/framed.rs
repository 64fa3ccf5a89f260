//! The sample as a plugin of the `flexcore` protocol, with the faults that only frames can have.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Instant;

use serde_json::{Value, json};

use super::config::Config;
use super::faults;
use crate::Error;
use crate::frames::{self, FrameError, FromPlugin, MAX_FRAME, PROTOCOL, ToPlugin};
use crate::pace::Pace;

/// Frames from the runtime that may wait to be looked at.
const INBOX: usize = 16;

type Inbox = Receiver<Result<ToPlugin, FrameError>>;

/// Says hello, takes one execute, and ends it with a result or an error.
pub(super) fn run(input: impl Read + Send + 'static, output: impl Write) -> Result<(), Error> {
    let mut plugin = Plugin { output, inbox: None };
    let name = "flexcore-sample".to_owned();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    plugin.send(&FromPlugin::Hello { protocol: PROTOCOL, name, version })?;
    let mut input = input;
    let first = frames::read(&mut input).map_err(unreadable)?;
    let Some(ToPlugin::Execute { operation, config, parameters, .. }) = first else {
        return Err(Error::invalid("the first frame is not execute: start this program under a runtime"));
    };
    let config = Config::from_known_keys(&[&config, &parameters])?.consider_marker()?;
    let _memory = faults::at_start(&config)?; // before the thread, which inherits the signal mask
    plugin.inbox = Some(read_in_background(input)?);
    plugin.execute(&config, &operation, parameters)
}

/// Cancel may come while records are being sent, so somebody must read meanwhile.
fn read_in_background(mut input: impl Read + Send + 'static) -> Result<Inbox, Error> {
    let (sender, inbox) = sync_channel(INBOX);
    let reading = move || {
        while let Some(frame) = frames::read(&mut input).transpose() {
            let last = frame.is_err();
            if sender.send(frame).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("frames".into())
        .spawn(reading)
        .map_err(|source| Error::Stream { operation: "start the reading thread", source })?;
    Ok(inbox)
}

struct Plugin<W> {
    output: W,
    inbox: Option<Inbox>,
}

impl<W: Write> Plugin<W> {
    fn execute(&mut self, config: &Config, operation: &str, parameters: Value) -> Result<(), Error> {
        self.log("info", format!("operation {operation} begins"))?;
        self.send_broken(config)?;
        let answer = match &config.call {
            Some(call) => Some(self.call(&call.api, call.arguments.clone())?),
            None => None,
        };
        if !self.records(config)? {
            return self.send(&FromPlugin::Error { message: "cancelled".into() });
        }
        if let Some(message) = &config.error {
            return self.send(&FromPlugin::Error { message: message.clone() });
        }
        let result = json!({
            "operation": operation, "parameters": parameters, "records": config.records(), "answer": answer,
        });
        self.send(&FromPlugin::Result { result: result.clone() })?;
        if config.result_twice {
            self.send(&FromPlugin::Result { result })?;
        }
        if config.output_after_result {
            self.log("info", "this comes after the result".into())?;
        }
        Ok(())
    }

    /// False when cancelled.
    fn records(&mut self, config: &Config) -> Result<bool, Error> {
        let mut pace = Pace::new(config.rate, Instant::now());
        faults::after(config, 0)?;
        for id in 1..=config.records() {
            let record = json!({"id": id, "payload": "x".repeat(config.record_bytes)});
            self.write(&FromPlugin::Record { stream: "sample".into(), record })?;
            if id.is_multiple_of(config.state_every()) {
                self.send(&FromPlugin::Progress { records: id, message: format!("{id} records") })?;
            }
            if faults::due_after(config, id) {
                self.output.flush().map_err(Error::stdout)?;
            }
            faults::after(config, id)?;
            if self.cancelled()? {
                return Ok(false);
            }
            if let Some(wait) = pace.record(Instant::now) {
                self.output.flush().map_err(Error::stdout)?;
                std::thread::sleep(wait);
            }
        }
        Ok(true)
    }

    fn cancelled(&self) -> Result<bool, Error> {
        match self.inbox.as_ref().map(Receiver::try_recv) {
            Some(Ok(Ok(ToPlugin::Cancel))) => Ok(true),
            Some(Ok(Err(error))) => Err(unreadable(error)),
            Some(Ok(Ok(_)) | Err(TryRecvError::Empty | TryRecvError::Disconnected)) | None => Ok(false),
        }
    }

    fn call(&mut self, api: &str, arguments: Value) -> Result<Value, Error> {
        let mine = 1;
        self.send(&FromPlugin::Call { id: mine, api: api.into(), arguments })?;
        for frame in self.inbox.iter().flatten() {
            match frame.map_err(unreadable)? {
                ToPlugin::Result { id, result } if id == mine => return Ok(result),
                ToPlugin::Error { id, message } if id == mine => return Ok(json!({"refused": message})),
                _ => {}
            }
        }
        Err(Error::invalid("the runtime has closed the connection while a call was open"))
    }

    fn send_broken(&mut self, config: &Config) -> Result<(), Error> {
        if config.malformed_frame {
            // Three bytes that are announced properly, of which the first is never used in MessagePack.
            self.output.write_all(b"\x00\x00\x00\x03\xc1\xc1\xc1").map_err(Error::stdout)?;
        }
        if config.oversize_frame {
            let length = MAX_FRAME as u32 + 1;
            self.output.write_all(&length.to_be_bytes()).map_err(Error::stdout)?;
        }
        self.output.flush().map_err(Error::stdout)
    }

    fn log(&mut self, level: &str, message: String) -> Result<(), Error> {
        self.send(&FromPlugin::Log { level: level.into(), message })
    }

    fn send(&mut self, message: &FromPlugin) -> Result<(), Error> {
        self.write(message)?;
        self.output.flush().map_err(Error::stdout)
    }

    fn write(&mut self, message: &FromPlugin) -> Result<(), Error> {
        frames::write(&mut self.output, message).map_err(|error| match error {
            FrameError::Stream(source) => Error::stdout(source),
            other => Error::invalid(other.to_string()),
        })
    }
}

fn unreadable(error: FrameError) -> Error {
    match error {
        FrameError::Stream(source) => Error::Stream { operation: "read standard input", source },
        other => Error::invalid(other.to_string()),
    }
}
