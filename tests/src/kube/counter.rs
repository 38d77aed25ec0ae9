//! An object whose updates are numbered, so that one that is missed shows.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::{Api, ApiError, Patch};
use super::objects::{self, Kind, NUMBER};

/// Writes one object.
#[derive(Debug)]
pub struct Counter {
    api: Api,
    kind: Kind,
    name: String,
    written: u64,
    /// As it was last answered.
    object: Value,
}

impl Counter {
    /// Creates the object.
    pub async fn create(api: &Api, kind: Kind, name: &str) -> Result<Self, ApiError> {
        let object = api.create(&kind.collection(), &kind.object(name)).await?;
        Ok(Self { api: api.clone(), kind, name: name.to_owned(), written: 0, object })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last number that was acknowledged.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next number; how long that took. After an error it may or may not be written: the next call writes
    /// the same number, which makes no event where it is there already.
    pub async fn advance(&mut self) -> Result<Duration, ApiError> {
        let started = Instant::now();
        let patch = objects::numbered(self.written + 1);
        self.object = self.api.patch(&self.kind.path(&self.name), Patch::Merge, &patch).await?;
        self.written += 1;
        Ok(started.elapsed())
    }

    /// Writes the next number into the object as it was last answered; how long that took. The API server refuses it (409)
    /// where the object is at another resource version by now, so it must be the only one that writes it.
    pub async fn replace(&mut self) -> Result<Duration, ApiError> {
        let started = Instant::now();
        let mut object = self.object.clone();
        object["metadata"]["annotations"][NUMBER] = (self.written + 1).to_string().into();
        self.object = self.api.replace(&self.kind.path(&self.name), &object).await?;
        self.written += 1;
        Ok(started.elapsed())
    }
}
