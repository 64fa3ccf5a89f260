//! Bodies of requests: read within bounds of size and time, parsed as JSON, checked key by key. A body that is not
//! needed is never read.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::reader::{Object, kind_of};
use futures::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap};
use serde_json::Value;
use tokio::time::timeout;
use warp::{Filter, Rejection};

use super::limits::{BODY_LIMIT, BODY_TIMEOUT, DISCARD_LIMIT, DISCARD_TIMEOUT};
use super::problem::{Kind, Problem};

/// A body that was not read yet.
pub(super) struct Payload(Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>);

/// Hands the body to a handler, which reads it.
pub(super) fn payload() -> impl Filter<Extract = (Payload,), Error = Rejection> + Copy {
    warp::body::stream().map(Payload::of)
}

impl Payload {
    fn of<B: Buf>(stream: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Self {
        Self(Box::pin(stream.map(|chunk| chunk.map(|mut data| data.copy_to_bytes(data.remaining())))))
    }

    /// The body as JSON; it must be there.
    pub(super) async fn json(self, headers: &HeaderMap) -> Result<Value, Problem> {
        let missing = || Problem::new(Kind::Malformed, "the body is empty: send a JSON object");
        self.json_if_any(headers).await?.ok_or_else(missing)
    }

    /// The body as JSON, or nothing when it is empty.
    pub(super) async fn json_if_any(self, headers: &HeaderMap) -> Result<Option<Value>, Problem> {
        let bytes = self.bytes(headers).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        is_json(headers)?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not JSON: {error}")))?;
        if value.is_object() {
            return Ok(Some(value));
        }
        Err(Problem::field("", format!("expected a JSON object, found {}", kind_of(&value))))
    }

    /// Reads a body that should hold nothing, so that a key that would change nothing is not silently ignored.
    pub(super) async fn nothing(self, headers: &HeaderMap) -> Result<(), Problem> {
        match self.json_if_any(headers).await? {
            Some(value) => strictly(&value, |_| ()),
            None => Ok(()),
        }
    }

    async fn bytes(mut self, headers: &HeaderMap) -> Result<Bytes, Problem> {
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
            // a client that asks before it sends has sent nothing yet
            if !headers.contains_key(EXPECT) {
                self.discard().await;
            }
            return Err(too_large());
        }
        self.collect_within(BODY_TIMEOUT).await
    }

    async fn collect_within(self, time: Duration) -> Result<Bytes, Problem> {
        timeout(time, self.collect()).await.unwrap_or_else(|_| {
            let detail = format!("the body did not arrive within {} s", time.as_secs());
            Err(Problem::new(Kind::SlowBody, detail))
        })
    }

    async fn collect(mut self) -> Result<Bytes, Problem> {
        let mut collected = BytesMut::new();
        while let Some(chunk) = self.0.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Kind::Malformed, "the body broke off"))?;
            if collected.len() + chunk.len() > BODY_LIMIT {
                self.discard().await;
                return Err(too_large());
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    }

    /// Reads on without keeping anything, within bounds: a client that is still writing when its connection closes
    /// sees a broken pipe instead of the answer.
    async fn discard(&mut self) {
        let mut left = DISCARD_LIMIT;
        let reading = async {
            while let Some(Ok(chunk)) = self.0.next().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    return;
                }
            }
        };
        // whoever is slower than this gets the answer anyway, if the connection still carries it
        let _ = timeout(DISCARD_TIMEOUT, reading).await;
    }
}

/// Reads an object with `read`, then refuses the keys that it did not ask for; all problems at once.
pub(super) fn strictly<'v, T>(
    value: &'v Value,
    read: impl FnOnce(&mut Object<'v>) -> T,
) -> Result<T, Problem> {
    let problems = Rc::new(RefCell::new(Problems::default()));
    let mut object = Object::open(value, "", &problems);
    let result = read(&mut object);
    object.finish();
    problems.take().into_result(result).map_err(Problem::validation)
}

/// An object within a body, which is not read further; absent is `null`.
pub(super) fn free_object(object: &mut Object<'_>, key: &'static str) -> Value {
    match object.value(key) {
        None => Value::Null,
        Some(value) if value.is_object() => value.clone(),
        Some(other) => {
            object.problem(key, format!("expected an object, found {}", kind_of(other)));
            Value::Null
        }
    }
}

fn too_large() -> Problem {
    Problem::new(Kind::TooLarge, format!("the body is larger than {BODY_LIMIT} bytes"))
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if name == "application/json" || (name.starts_with("application/") && name.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedType, "the body has to be JSON: send Content-Type: application/json"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chunks(parts: Vec<Vec<u8>>) -> Payload {
        Payload::of(futures::stream::iter(parts.into_iter().map(|part| Ok(Bytes::from(part)))))
    }

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
    }

    async fn status(parts: Vec<Vec<u8>>, content_type: &str) -> u16 {
        chunks(parts).json(&headers(content_type)).await.unwrap_err().status().as_u16()
    }

    #[tokio::test]
    async fn chunks_are_put_together_and_counted() {
        let parts = vec![b"{\"a\":".to_vec(), b"1}".to_vec()];
        assert_eq!(
            chunks(parts).json(&headers("application/json; charset=utf-8")).await.unwrap(),
            json!({"a": 1})
        );
        let filler = |n: usize| vec![b' '; n];
        let whole = vec![b"{}".to_vec(), filler(BODY_LIMIT - 2)];
        assert_eq!(chunks(whole).json(&headers("application/json")).await.unwrap(), json!({}));
        assert_eq!(status(vec![b"{}".to_vec(), filler(BODY_LIMIT - 1)], "application/json").await, 413);
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_reading() {
        let mut headers = headers("application/json");
        headers.insert(CONTENT_LENGTH, (BODY_LIMIT + 1).into());
        let never = Payload::of(futures::stream::pending::<Result<Bytes, warp::Error>>());
        assert_eq!(never.json(&headers).await.unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn a_body_that_never_arrives_is_given_up() {
        let never = Payload::of(futures::stream::pending::<Result<Bytes, warp::Error>>());
        assert_eq!(never.collect_within(Duration::from_millis(5)).await.unwrap_err().status(), 408);
    }

    #[tokio::test]
    async fn bad_bodies_are_told_apart() {
        assert_eq!(status(vec![], "application/json").await, 400);
        assert_eq!(status(vec![b"{}".to_vec()], "text/plain").await, 415);
        assert_eq!(status(vec![b"[]".to_vec()], "application/json").await, 422);
        let broken = chunks(vec![b"{\n \"a\": }".to_vec()]).json(&headers("application/json")).await;
        let text = format!("{:?}", broken.unwrap_err());
        assert!(text.contains("line 2 column 7"), "{text}");
        assert_eq!(chunks(vec![]).json_if_any(&HeaderMap::new()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn keys_that_mean_nothing_are_named() {
        let refused = chunks(vec![b"{\"forse\": true}".to_vec()]).nothing(&headers("application/json")).await;
        assert_eq!(refused.unwrap_err().status(), 422);
        chunks(vec![b"{}".to_vec()]).nothing(&headers("application/json")).await.unwrap();
        let value = json!({"parametres": {}, "from_scratch": 1});
        let read = strictly(&value, |body| (free_object(body, "parameters"), body.boolean("from_scratch")));
        let text = format!("{:?}", read.unwrap_err());
        assert!(
            text.contains("did you mean \\\"parameters\\\"?") && text.contains("true or false"),
            "{text}"
        );
    }
}
