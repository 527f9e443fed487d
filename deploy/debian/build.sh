#!/bin/sh
# Builds the hub's Debian package; prints its path. Needs cargo-deb: cargo install cargo-deb --locked
set -e
cd "$(dirname "$0")/../.."

cargo build --release --quiet -p slotway-hub
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
hub=$target/release/slotway-hub
# What the package has beside the program is made by it
made=target/debian-package
mkdir -p "$made"
"$hub" man >"$made/slotway-hub.1"
"$hub" completions bash >"$made/slotway-hub.bash"
"$hub" completions zsh >"$made/_slotway-hub"
"$hub" completions fish >"$made/slotway-hub.fish"
cargo deb --quiet -p slotway-hub --no-build --strip -o "$made/slotway-hub.deb" >&2
echo "$PWD/$made/slotway-hub.deb"
