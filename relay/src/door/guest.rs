//! Who comes in by the door, as pico rooms see it.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Admission, Doorkeeper};
use crate::pico;

impl pico::account::Guest for Admission {
    fn client(&self) -> IpAddr {
        self.client
    }

    fn account(&self) -> Arc<dyn pico::account::Account> {
        let account: Arc<dyn pico::account::Account> = Arc::<crate::account::Account>::clone(self.account());
        account
    }

    fn heard(&self) {
        self.seat.heard();
    }

    async fn given_away(&self) {
        self.seat.given_away().await;
    }

    fn refused(&self, what: &'static str, why: &str) {
        self.log.refused(what, why);
    }
}

impl pico::account::Door for Doorkeeper {
    type Guest = Admission;

    fn admit(&self, client: IpAddr) -> Option<Admission> {
        Self::admit(self, client).ok()
    }
}
