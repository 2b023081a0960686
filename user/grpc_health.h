/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two messages of grpc.health.v1.Health/Check, framed as gRPC over HTTP/2
 * frames them (one byte 0: not compressed; four bytes length, big-endian), in
 * Protocol Buffers. Pure.
 */
#ifndef SLUICE_GRPC_HEALTH_H
#define SLUICE_GRPC_HEALTH_H

#include <stddef.h>
#include <stdint.h>

#include "strbuf.h"

/* HealthCheckResponse.ServingStatus */
enum grpc_health {
	GRPC_HEALTH_UNKNOWN,
	GRPC_HEALTH_SERVING,
	GRPC_HEALTH_NOT_SERVING,
	GRPC_HEALTH_SERVICE_UNKNOWN,
};

/* Appends a framed HealthCheckRequest for `service` ("": the server as a whole). */
void grpc_health_request(struct strbuf *buf, const char *service);

/* Reads exactly one framed HealthCheckResponse. 0, or -EBADMSG; unknown fields are skipped. */
int grpc_health_response(const uint8_t *bytes, size_t len, enum grpc_health *ret);

#endif
