//! What protects a loopback server without access control from the web pages of the browser beside it.
//!
//! Binding to loopback keeps other machines out, not the pages a user of this machine visits: any page may send a
//! form to `http://127.0.0.1:8080`, and a page whose host name is re-pointed to 127.0.0.1 (DNS rebinding) may even
//! read the answers. Two checks end both: the host asked for has to be a loopback name, and a request that changes
//! something must not come from a page of another origin. They are no replacement for access control: every local
//! program still gets in.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, HeaderMap, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};

use super::problem::{Kind, Problem};

/// Refuses requests that a web page may have sent.
pub(super) fn check(parts: &Parts) -> Result<(), Problem> {
    let host = host_of(parts)?;
    if let Some(host) = &host
        && !is_loopback(host.host())
    {
        return Err(Problem::new(
            Kind::Forbidden,
            "the Host header names another host: without access control this node answers only to localhost, \
             127.0.0.1 and [::1]",
        ));
    }
    if matches!(parts.method, Method::GET | Method::HEAD) || same_origin(&parts.headers, host.as_ref()) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        "the Origin header names another site: without access control pages of other sites may not change anything",
    ))
}

fn host_of(parts: &Parts) -> Result<Option<Authority>, Problem> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let bad = || Problem::parameter("Host", "send one Host header with the name you connected to");
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // browsers never speak HTTP/1.0; the tools that do may leave it out
        (None, _) if parts.version < Version::HTTP_11 => Ok(None),
        (Some(host), None) => Authority::try_from(host.as_bytes()).map(Some).map_err(|_| bad()),
        _ => Err(bad()),
    }
}

fn same_origin(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let text = origin.to_str().unwrap_or_default();
    let site = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let same = site.zip(host).is_some_and(|(site, host)| site.eq_ignore_ascii_case(host.as_str()));
    same && origins.next().is_none()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn answer(method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri("/api/v1/flexcore/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).err().map(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"] {
            assert_eq!(answer("GET", &[("host", host)]), None, "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example:8080", "[::2]"]
        {
            assert_eq!(answer("GET", &[("host", host)]), Some(403), "{host}");
        }
        for headers in [&[][..], &[("host", "")], &[("host", "localhost"), ("host", "evil.example")]] {
            assert_eq!(answer("GET", headers), Some(400), "{headers:?}");
        }
    }

    #[test]
    fn the_target_of_a_proxy_request_counts_as_host() {
        let request = Request::builder().uri("http://evil.example/").header("host", "localhost");
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(check(&parts).unwrap_err().status(), 403);
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let from = |origin: &str| answer("POST", &[("host", "localhost:8080"), ("origin", origin)]);
        assert_eq!(from("http://localhost:8080"), None);
        for origin in ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "", "x"] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
        assert_eq!(answer("POST", &[("host", "localhost")]), None);
        assert_eq!(answer("DELETE", &[("host", "localhost"), ("origin", "http://evil.example")]), Some(403));
        assert_eq!(answer("GET", &[("host", "localhost"), ("origin", "http://evil.example")]), None);
    }
}
