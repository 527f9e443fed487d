//! x
fn main(){ let e = slotway_loadgen::echo::Echo::start(None).unwrap(); println!("{}", e.address()); loop {std::thread::sleep(std::time::Duration::from_secs(1000));} }
