# The peer of dependencies.py: the chapter's Dockerfile with its bases by argument, without its apt steps (the bases have
# all that they bring) and without a frontend to pull. The engine's own one is used.
ARG BUILD_BASE
ARG RUN_BASE
FROM ${BUILD_BASE} AS builder
WORKDIR /app/src
ENV REBAR_BASE_DIR=/app/_build
COPY rebar.config rebar.lock ./
RUN --mount=id=hex-cache,type=cache,sharing=locked,target=/root/.cache/rebar3 \
    rebar3 compile

FROM builder AS prod_compiled
RUN --mount=target=. \
    --mount=id=hex-cache,type=cache,target=/root/.cache/rebar3 \
    rebar3 as prod compile

FROM prod_compiled AS releaser
WORKDIR /app/src
RUN mkdir -p /opt/rel
RUN --mount=target=. \
    --mount=id=hex-cache,type=cache,target=/root/.cache/rebar3 \
    rebar3 as prod tar && \
    tar -zxvf $REBAR_BASE_DIR/prod/rel/*/*.tar.gz -C /opt/rel

FROM ${RUN_BASE} AS runner
WORKDIR /opt/big
ENV RELX_OUT_FILE_PATH=/tmp
COPY --from=releaser /opt/rel .
ENTRYPOINT ["/opt/big/bin/big"]
CMD ["foreground"]
