//! `/metrics`: what is counted, as Prometheus text.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metrics::{Kind, LIST, describe};

/// The recorder that all counting goes to. A clone is the same recorder.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes it the recorder of this process. Once; a second call is an error.
    pub fn install() -> Result<Self, BuildError> {
        let metrics = Self(builder()?.install_recorder()?);
        describe();
        Ok(metrics)
    }

    /// The answer to `/metrics`, `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Empties the buffers of histograms, which grow until somebody asks. To be called every few seconds.
    pub fn tend(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    LIST.iter().try_fold(PrometheusBuilder::new(), |builder, (name, kind, _)| match kind {
        Kind::Histogram(buckets) => builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets),
        _ => Ok(builder),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{COMMIT_SECONDS, CONNECTIONS, EVENTS};

    #[test]
    fn what_is_counted_is_shown() {
        let recorder = builder().unwrap().build_recorder();
        let shown = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(EVENTS, "outcome" => "rejected", "reason" => "pow").increment(2);
            metrics::gauge!(CONNECTIONS).increment(1.0);
            metrics::histogram!(COMMIT_SECONDS).record(0.002);
        });
        shown.tend();
        let text = shown.render();
        for line in [
            "# HELP picorelay_events_total Events that came in, by outcome and reason",
            "# TYPE picorelay_events_total counter",
            "picorelay_events_total{outcome=\"rejected\",reason=\"pow\"} 2",
            "picorelay_connections 1",
            "picorelay_outbox_closes_total 0",
            "picorelay_commit_seconds_bucket{le=\"0.001\"} 0",
            "picorelay_commit_seconds_bucket{le=\"0.003\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis not in:\n{text}");
        }
    }
}
