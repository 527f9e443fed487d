# Every habit of the project; CI calls the same lines (.ci/run).

# What must hold before a commit
check: fmt clippy test

# Formatting, without changing it
fmt:
    cargo fmt --all --check

# Lints, all of them denied
clippy:
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p slotway-worker-sdk --lib --no-default-features -- -D warnings
    cargo clippy -p slotway-worker-sdk --lib --features tower -- -D warnings

# Licences, versions and sources of what the project depends on (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# Known vulnerabilities of it (needs a network)
audit:
    cargo deny check advisories

# The README's test command
test:
    cargo test --workspace

# The hub's Debian package, installed and upgraded in a machine of the test's own (needs cargo-deb, root)
deb:
    SLOTWAY_DEB="$(deploy/debian/build.sh)" cargo test -p slotway-tests --test package --test documents

# A hub that needs no library of its host: target/ARCHITECTURE-unknown-linux-gnu/release/slotway-hub
static:
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked -p slotway-hub --target "$(uname -m)-unknown-linux-gnu"

# Rings, doorbells and notices under every interleaving of up to 3 preemptions
loom:
    LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg loom" cargo test -p slotway-shm-proto --release --test loom --target-dir target/loom

# The unsafe files under Miri, as far as it can run them (no mmap of memfds)
miri:
    MIRIFLAGS=-Zmiri-strict-provenance cargo +nightly miri test -p slotway-shm-proto --lib --target-dir target/miri

# Documentation without warnings
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# A hub and a worker under load, with the latencies
demo *ARGS:
    cargo run --release --bin demo -- {{ARGS}}

# Beside every peer in one run: target/bench/bench.md, .json, .html; --help has what to choose
bench *ARGS:
    cargo run --release --bin bench -- {{ARGS}}

# The load generator against wrk in one run, a known stall, memory (needs wrk): [SECONDS [ROUNDS]]
bench-loadgen *ARGS:
    cargo run --release --bin bench-loadgen -- {{ARGS}}

# Odd requests to the hub, nginx and HAProxy: what only the hub accepts is a bug
differential:
    cargo run --bin differential

# What metrics, logs, traces and status pages cost, in one run (needs wrk): [SECONDS [ROUNDS]]
bench-observe *ARGS:
    cargo run --release --bin bench-observe -- {{ARGS}}

# What large bodies, idle and dribbling clients cost
bench-http:
    cargo run --release --bin bench-http

# A thousand workers attach; what requests cost beside them (needs wrk): [SECONDS [ROUNDS]]
bench-attach *ARGS:
    cargo run --release --bin bench-attach -- {{ARGS}}

# Workers killed, stopped, replaced, lying; clients leaving: [SECONDS [SEED]]; then the ledger
chaos *ARGS:
    cargo run --release --bin chaos -- {{ARGS}}

# Ten minutes of it, and the tests of restarts and upgrades fifty times over
soak:
    cargo run --release --bin chaos -- 600
    SLOTWAY_SOAK=50 cargo test -p slotway-tests --test workers_come_and_go --test upgrade --test injected_faults \
        -- --test-threads 2 under_load client_left after_a_stall interrupted accepts_later

# libFuzzer on request heads, chunked bodies and answers, SECONDS each (needs nightly)
fuzz SECONDS="60":
    rustup toolchain list | grep -q nightly || rustup toolchain install nightly --profile minimal
    command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
    for target in request_head chunk_decoder response_encoder; do \
        mkdir -p target/fuzz/$target && \
        cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer $target target/fuzz/$target fuzz/corpus/$target \
            -- -max_total_time={{SECONDS}} -max_len=4096 -verbosity=0 -print_final_stats=1 || exit 1; \
    done

# Instructions of the parts of a request's way against tests/instructions.txt (needs valgrind); --update
instructions *ARGS:
    cargo run --bin instructions -- {{ARGS}}
