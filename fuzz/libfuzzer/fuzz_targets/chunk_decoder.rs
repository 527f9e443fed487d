#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| slotway_fuzz::chunk_decoder(bytes));
