//! `listeners` and `advertised.listeners`: where the node listens and where it tells clients to come back; and
//! `metrics.listener`, where it shows what it does.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

/// `localhost` is ::1 first on many hosts and 127.0.0.1 on others, so both are served.
pub(super) const DEFAULT: &str = "127.0.0.1:9092,[::1]:9092";

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// Whether the operator did without naming it: then a host without IPv6 is no error.
    pub optional: bool,
}

impl Listener {
    /// Whether it is every address of the machine.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    pub(super) fn needs_advertised(&self) -> String {
        let port = self.address.port();
        format!(
            "listeners={}: this is every address of the machine, so clients cannot be told where to come back. Add the line\n  \
             advertised.listeners=PLAINTEXT://localhost:{port}\nwith the name and port that clients use to reach this \
             node (in Docker with -p {port}:{port} and clients on the same host, just that line; as a variable: \
             RINGMAIN_ADVERTISED_LISTENERS)",
            self.address
        )
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A host and port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

pub(super) fn parse(text: &str) -> Result<Vec<Listener>, String> {
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let endpoint = kafka_endpoint(entry)?;
        for address in resolve(&endpoint)? {
            if !listeners.iter().any(|listener| listener.address == address) {
                listeners.push(Listener { address, optional: text == DEFAULT && address.is_ipv6() });
            }
        }
    }
    if listeners.is_empty() { Err("no address".to_owned()) } else { Ok(listeners) }
}

pub(super) fn parse_advertised(text: &str) -> Result<Endpoint, String> {
    let mut endpoints = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(kafka_endpoint);
    let first = endpoints.next().ok_or("no address")??;
    if let Some(second) = endpoints.next() {
        let second = second?;
        return Err(format!("one address only, and {}:{} is a second one", second.host, second.port));
    }
    let wildcard = first.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if first.host.is_empty() || wildcard {
        return Err("clients need a name or an address that they can connect to".to_owned());
    }
    if first.port == 0 {
        return Err("clients need a port".to_owned());
    }
    Ok(first)
}

/// The one address of the HTTP server; none where the text is empty. Every address of the machine is an answer too: nobody is
/// told to come back.
pub(super) fn parse_http(text: &str) -> Result<Option<Listener>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let rest = match text.split_once("://") {
        None => text,
        Some((name, rest)) if name.eq_ignore_ascii_case("HTTP") => rest,
        Some((name, _)) => return Err(format!("{name} is not available, only HTTP")),
    };
    let addresses = resolve(&endpoint(rest.trim_end_matches('/'), "HTTP")?)?;
    let address = *addresses.first().ok_or("no address")?;
    Ok(Some(Listener { address, optional: false }))
}

/// `host:port`, `[v6]:port` or `PLAINTEXT://host:port`.
fn kafka_endpoint(entry: &str) -> Result<Endpoint, String> {
    let rest = match entry.split_once("://") {
        None => entry,
        Some((name, rest)) if name.eq_ignore_ascii_case("PLAINTEXT") => rest,
        Some((name, _)) if name.eq_ignore_ascii_case("CONTROLLER") => {
            return Err("this node is its own controller: leave the CONTROLLER listener out".to_owned());
        }
        Some((name, _)) => {
            return Err(format!("{name} listeners are not available, only PLAINTEXT (no TLS or SASL yet)"));
        }
    };
    endpoint(rest, "PLAINTEXT")
}

/// `host:port` or `[v6]:port`; `name` is what may stand before it.
fn endpoint(entry: &str, name: &str) -> Result<Endpoint, String> {
    let shape = || format!("{entry:?} is not of the form host:port or {name}://host:port");
    let (host, port) = entry.rsplit_once(':').ok_or_else(shape)?;
    let port = port.parse().map_err(|_| shape())?;
    let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        Some(Some(inner)) => inner,
        Some(None) => return Err(shape()),
        None if host.contains(':') => return Err(format!("{entry:?}: put an IPv6 address in brackets, [::1]:9092")),
        None => host,
    };
    Ok(Endpoint { host: host.to_owned(), port })
}

fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    // Kafka takes an empty host for the wildcard.
    let host = if endpoint.host.is_empty() { "0.0.0.0" } else { &endpoint.host };
    let addresses = (host, endpoint.port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    Ok(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, parse, parse_advertised, parse_http};

    #[test]
    fn addresses_in_kafkas_form_and_without_it() {
        let listeners = parse("PLAINTEXT://127.0.0.1:9092, [::1]:9093,:0").expect("well-formed");
        let shown: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:9092", "[::1]:9093", "0.0.0.0:0"]);
        assert!(listeners[2].is_wildcard() && !listeners[0].is_wildcard());
        assert!(listeners.iter().all(|listener| !listener.optional));
    }

    #[test]
    fn other_forms_are_refused_with_what_is_possible() {
        for text in
            ["", "9092", "127.0.0.1", "::1:9092", "[::1:9092", "SASL_SSL://a:1", "a:99999", "CONTROLLER://:9093"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn metrics_have_one_address_or_none() {
        let shown = |text| parse_http(text).map(|listener| listener.map(|listener| listener.to_string()));
        assert_eq!(shown(""), Ok(None));
        for text in ["127.0.0.1:9644", "HTTP://127.0.0.1:9644", "http://127.0.0.1:9644/"] {
            assert_eq!(shown(text), Ok(Some("127.0.0.1:9644".to_owned())), "{text:?}");
        }
        assert_eq!(shown("0.0.0.0:1"), Ok(Some("0.0.0.0:1".to_owned())));
        assert_eq!(shown("[::1]:1"), Ok(Some("[::1]:1".to_owned())));
        for text in ["9644", "https://127.0.0.1:9644", "PLAINTEXT://127.0.0.1:9644", "a:1,b:2", "127.0.0.1:x"] {
            assert!(parse_http(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_advertised_can_be_connected_to() {
        let expected = Endpoint { host: "kafka.example".into(), port: 9092 };
        assert_eq!(parse_advertised("PLAINTEXT://kafka.example:9092"), Ok(expected));
        for text in ["", "0.0.0.0:9092", "[::]:9092", ":9092", "a:0", "a:1,b:2"] {
            assert!(parse_advertised(text).is_err(), "{text:?}");
        }
    }
}
