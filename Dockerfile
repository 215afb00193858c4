# syntax=docker/dockerfile:1
# Two stages: one builds a static binary, one holds it and nothing else. No shell, no root.
#
#   docker build -t tidegate .
#   docker run --rm -p 8686:8686 -p 9598:9598 tidegate                     # the quickstart
#   docker run --rm -v /etc/tidegate:/etc/tidegate:ro -v /var/log:/var/log:ro \
#     -v tidegate-data:/var/lib/tidegate tidegate run

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY benches ./benches
COPY src ./src
COPY pipelines ./pipelines
COPY examples ./examples
COPY tools ./tools
COPY docs/disk-buffer-format.md docs/openapi.json ./docs/
# Static against glibc; guided by a profile, for which the program is built and run once before (tools/pgo.sh), with an
# explicit target, which keeps build scripts and proc macros dynamic, as they must be.
RUN rustup component add llvm-tools
RUN RUSTFLAGS="-C target-feature=+crt-static" tools/pgo.sh \
 && cp "target/$(rustc -vV | sed -n 's/^host: //p')/dist/tidegate" /tidegate \
 && mkdir -p /layout/var/lib/tidegate /layout/work

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /tidegate /usr/bin/tidegate
COPY --from=build --chown=65532:65532 /layout/var/lib/tidegate /var/lib/tidegate
COPY --from=build --chown=65532:65532 /layout/work /work
COPY pipelines/container.yaml /etc/tidegate/tidegate.yaml
COPY pipelines /usr/share/tidegate/pipelines
WORKDIR /work
USER 65532:65532
EXPOSE 8686 9598
VOLUME ["/var/lib/tidegate"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run"]
