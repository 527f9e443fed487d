//! The `slotway-loadgen` program; everything it does is in the library.

use std::sync::Arc;
use slotway_loadgen::load::run::*;
use slotway_loadgen::workload::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = Template{method:"GET".into(),..Default::default()};
    let w = Workload::of_url(&a[1], &t, Expected::default()).unwrap();
    let engine = if a[2]=="uring" {slotway_net::Engine::Uring} else {slotway_net::Engine::Epoll};
    let rate = a.get(5).map(|r| slotway_loadgen::schedule::Rate::parse(r).unwrap());
    let plan = Plan { workload: Arc::new(w), engine, thread_count:1, connection_count: a[3].parse().unwrap(), rate, connect_rate:None, requests_per_connection:None, warmup: std::time::Duration::from_millis(500), length: Length::Time(std::time::Duration::from_secs(a[4].parse().unwrap())), spin: std::env::var_os("SPIN").is_some(), timeout: std::time::Duration::from_secs(5)};
    let o = run(&plan, &Arc::new(Stop::default()), &mut ()).unwrap();
    let l=&o.total.latency;
    println!("{} rate {:.0} p50 {} p99 {} max {} lag p50 {} p99 {} cpu/req {:.0} ns unsent {} err {:?}", o.total.answered_count, o.rate(), l.value_at_quantile(0.5), l.value_at_quantile(0.99), l.max(), o.total.lag.value_at_quantile(0.5), o.total.lag.value_at_quantile(0.99), o.cpu.as_nanos() as f64/ (o.total.answered_count as f64 * 1.0), o.unsent_count, o.errors());
}
