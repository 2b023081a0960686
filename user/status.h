/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent answers over HTTP: /metrics, /healthz, /readyz and /status.
 * The agent passes the table to http_new() with its `struct facts` as context.
 */
#ifndef SLUICE_STATUS_H
#define SLUICE_STATUS_H

#include "facts.h"
#include "http.h"

#define STATUS_HANDLERS 4
extern const struct http_handler status_handlers[STATUS_HANDLERS];

/* Appends one JSON object (README: /status). 0, or -ENOMEM. */
int status_render(const struct facts *facts, struct strbuf *out);

#endif
