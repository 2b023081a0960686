// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes of a server into the decoder of HealthCheckResponse; and a request made
 * of the same bytes must be a message that the decoder can walk.
 * fuzz-links: user/grpc_health.c user/strbuf.c
 */
#include <stdlib.h>
#include <string.h>

#include "grpc_health.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *service = strndup((const char *)data, size);
	struct strbuf buf = {0};
	enum grpc_health health;

	if (!grpc_health_response(data, size, &health) && health > GRPC_HEALTH_SERVICE_UNKNOWN)
		abort();
	grpc_health_request(&buf, service);
	if (grpc_health_response((const uint8_t *)buf.data, buf.len, &health) ||
	    health != GRPC_HEALTH_UNKNOWN)
		abort();
	strbuf_done(&buf);
	free(service);
	return 0;
}
