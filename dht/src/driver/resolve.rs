//! Names of bootstrap contacts, resolved again until they are.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The longest pause between two attempts at a name.
const RETRY_MAX: Duration = Duration::from_secs(60);

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// A name that has no address yet.
struct Name {
    text: String,
    resolving: Resolving,
    pause: Duration,
    error: String,
}

/// Turns `HOST:PORT` into addresses.
pub(super) struct Resolver {
    names: Vec<Name>,
    found: Vec<SocketAddr>,
}

impl Resolver {
    pub(super) fn new(names: Vec<String>) -> Resolver {
        let mut resolver = Resolver { names: Vec::new(), found: Vec::new() };
        for name in names {
            resolver.add(name);
        }
        resolver
    }

    pub(super) fn add(&mut self, text: String) {
        match text.parse() {
            Ok(addr) => self.found.push(addr),
            Err(_) => self.names.push(Name {
                resolving: resolve(text.clone(), Duration::ZERO),
                text,
                pause: Duration::from_secs(1),
                error: String::new(),
            }),
        }
    }

    /// Whether there are new addresses to take, or a name failed for the first time; else wakes the
    /// task when it is so.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let (found, mut failed) = (&mut self.found, false);
        self.names.retain_mut(|name| {
            while let Poll::Ready(result) = name.resolving.as_mut().poll(cx) {
                failed |= name.error.is_empty();
                match result {
                    Ok(addrs) if !addrs.is_empty() => {
                        tracing::debug!(name = name.text, ?addrs, "bootstrap name resolved");
                        found.extend(addrs);
                        return false;
                    }
                    Ok(_) => name.error = "no address".into(),
                    Err(error) => name.error = error.to_string(),
                }
                tracing::debug!(name = name.text, error = name.error, "cannot resolve");
                name.resolving = resolve(name.text.clone(), name.pause);
                name.pause = (name.pause * 2).min(RETRY_MAX);
            }
            true
        });
        failed || !self.found.is_empty()
    }

    /// The addresses found since the last call.
    pub(super) fn take(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.found)
    }

    /// Names without address, and why.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().map(|name| (name.text.as_str(), name.error.as_str()))
    }
}

/// Resolves after a pause. The system's resolver blocks: tokio asks it on a thread of its own.
fn resolve(name: String, pause: Duration) -> Resolving {
    Box::pin(async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(tokio::net::lookup_host(name).await?.collect())
    })
}
