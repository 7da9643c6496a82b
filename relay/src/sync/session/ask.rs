//! Asking for what the other relay has: by pages, and by ids.

use std::sync::atomic::Ordering;

use hashbrown::HashSet;

use super::Session;
use crate::event::Id;
use crate::filter::Filter;
use crate::sync::client::{Heard, Name, Page};
use crate::sync::fault::Fault;

impl Session<'_> {
    /// One page of what the other relay has.
    pub async fn page(&mut self, filter: &Filter) -> Result<Page, Fault> {
        self.ask(filter, self.page_events()).await?.map_err(Fault::Refused)
    }

    /// A page with as many events as may be asked for at all. `None` when that is refused. One that cuts the connection
    /// inside such a page is asked for half as many, one that does not answer at all no more.
    pub async fn large_page(&mut self, filter: &Filter) -> Result<Option<Page>, Fault> {
        let limit = self.memory.second_stride.lock().events();
        if limit > self.page_events() {
            if let Ok(page) = self.ask(filter, limit).await? {
                return Ok(Some(page));
            }
            self.memory.second_stride.lock().give_up();
        }
        Ok(self.ask(filter, self.page_events()).await?.ok())
    }

    /// The connection has ended: where that was inside a page, smaller ones are asked for.
    pub(super) fn cut(&self, fault: &Fault) {
        let is_silent = matches!(fault, Fault::Silent(_));
        if !is_silent && !matches!(fault, Fault::Gone) {
            return;
        }
        let Some((limit, has_begun)) = self.link.client.open_page() else { return };
        if limit <= self.page_events() {
            if has_begun {
                self.memory.stride.lock().cut();
            }
        } else if has_begun && !is_silent {
            self.memory.second_stride.lock().cut();
        } else {
            self.memory.second_stride.lock().give_up();
        }
    }

    /// Events of a page.
    pub(super) fn page_events(&self) -> usize {
        self.memory.stride.lock().events()
    }

    /// The most events that a page had.
    pub fn largest_page(&self) -> usize {
        self.memory.largest_page.load(Ordering::Relaxed)
    }

    /// Whether the other relay gives more events than this at a time. Asked of whatever it has, which is not taken.
    pub async fn gives_more_than(&mut self, count: usize) -> Result<bool, Fault> {
        if self.largest_page() > count {
            return Ok(true);
        }
        let takes = std::mem::replace(&mut self.takes, false);
        let asked = self.ask(&Filter::default(), count + 1).await;
        self.takes = takes;
        Ok(asked?.is_ok_and(|page| page.events.len() > count))
    }

    pub(super) async fn ask(&mut self, filter: &Filter, limit: usize) -> Result<Result<Page, String>, Fault> {
        let filter = Filter { limit: Some(limit as u64), ..filter.clone() };
        let json = filter.json();
        let now = self.link.now();
        let name = self.link.client.page(filter, &json, limit, now);
        loop {
            match self.heard().await? {
                Heard::End(of, page) if of == name => {
                    self.memory.largest_page.fetch_max(page.events.len(), Ordering::Relaxed);
                    if page.is_full && limit >= self.page_events() {
                        self.memory.stride.lock().filled();
                    }
                    return Ok(Ok(page));
                }
                Heard::Closed(of, why) if of == name => return Ok(Err(why)),
                Heard::Closed(_, why) => return Err(Fault::Refused(why)),
                _ => {}
            }
        }
    }

    /// Fetches these events, several requests at a time.
    pub async fn fetch(&mut self, filter: &Filter, ids: Vec<Id>) -> Result<(), Fault> {
        let wanted = ids.into_iter().filter(|id| !self.memory.unwanted.contains(id));
        let wanted: Vec<Id> = wanted.collect::<HashSet<_>>().into_iter().collect();
        let mut chunks: Vec<Vec<Id>> = wanted.chunks(self.page_events()).map(<[Id]>::to_vec).collect();
        let mut open: Vec<(Name, Vec<Id>)> = Vec::new();
        loop {
            while open.len() < self.config.requests_max
                && let Some(chunk) = chunks.pop()
            {
                let name = self.fetch_chunk(filter, &chunk);
                open.push((name, chunk));
            }
            if open.is_empty() {
                return Ok(());
            }
            let (name, page) = match self.heard().await? {
                Heard::End(name, page) => (name, Ok(page)),
                Heard::Closed(name, why) => (name, Err(why)),
                _ => continue,
            };
            let Some(at) = open.iter().position(|(open, _)| *open == name) else {
                match page {
                    Ok(_) => continue,
                    Err(why) => return Err(Fault::Refused(why)),
                }
            };
            let (_, chunk) = open.swap_remove(at);
            match page {
                Ok(page) if page.events.is_empty() => self.memory.tally.lock().missing += chunk.len() as u64,
                // Some relays give fewer than they are asked for.
                Ok(page) => {
                    let came: HashSet<Id> = page.events.into_iter().map(|(_, id)| id).collect();
                    let rest: Vec<Id> = chunk.into_iter().filter(|id| !came.contains(id)).collect();
                    chunks.extend((!rest.is_empty()).then_some(rest));
                }
                // Some relays take fewer values in a filter.
                Err(_) if chunk.len() > 1 => {
                    let (one, other) = chunk.split_at(chunk.len() / 2);
                    chunks.push(other.to_vec());
                    chunks.push(one.to_vec());
                }
                Err(why) => return Err(Fault::Refused(why)),
            }
        }
    }

    fn fetch_chunk(&mut self, filter: &Filter, ids: &[Id]) -> Name {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        let filter = Filter { ids: Some(sorted.into()), ..filter.clone() };
        // The ids are enough to find them; that they match the rest is for us to see.
        let asked = Filter { ids: filter.ids.clone(), limit: Some(ids.len() as u64), ..Filter::default() };
        let now = self.link.now();
        self.link.client.page(filter, &asked.json(), ids.len(), now)
    }
}
