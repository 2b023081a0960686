// SPDX-License-Identifier: GPL-2.0-only
/*
 * HealthCheckRequest { string service = 1; } and HealthCheckResponse
 * { ServingStatus status = 1; }, by hand: two messages of one field do not pay
 * for a code generator. Refuses compressed, cut and overlong messages. Called by
 * probe_spec.c and probe_grpc.c.
 */
#include <errno.h>
#include <string.h>

#include "grpc_health.h"

#define FRAME_PREFIX 5

/* Wire types of Protocol Buffers; groups (3, 4) are long gone. */
enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

#define FIELD_SERVICE (1 << 3 | WIRE_BYTES)
#define FIELD_STATUS (1 << 3 | WIRE_VARINT)

static size_t put_varint(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	for (; value > 0x7f; value >>= 7)
		to[n++] = value | 0x80;
	to[n++] = value;
	return n;
}

void grpc_health_request(struct strbuf *buf, const char *service)
{
	size_t len = strlen(service), head_len = 0, total;
	uint8_t head[1 + 10]; /* absent for "": proto3 leaves defaults out */

	if (len) {
		head[0] = FIELD_SERVICE;
		head_len = 1 + put_varint(head + 1, len);
	}
	total = head_len + len;
	const uint8_t prefix[FRAME_PREFIX] = {0, total >> 24, total >> 16, total >> 8, total};

	strbuf_add_bytes(buf, (const char *)prefix, sizeof(prefix));
	strbuf_add_bytes(buf, (const char *)head, head_len);
	strbuf_add_bytes(buf, service, len);
}

struct reader {
	const uint8_t *at, *end;
};

static int get_varint(struct reader *reader, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
		uint8_t byte = *reader->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return -EBADMSG;
}

static int skip_field(struct reader *reader, enum wire_type type)
{
	uint64_t len;

	switch (type) {
	case WIRE_VARINT:
		return get_varint(reader, &len);
	case WIRE_FIXED64:
		len = 8;
		break;
	case WIRE_FIXED32:
		len = 4;
		break;
	case WIRE_BYTES:
		if (get_varint(reader, &len))
			return -EBADMSG;
		break;
	default:
		return -EBADMSG;
	}
	if (len > (uint64_t)(reader->end - reader->at))
		return -EBADMSG;
	reader->at += len;
	return 0;
}

int grpc_health_response(const uint8_t *bytes, size_t len, enum grpc_health *ret)
{
	struct reader reader = {bytes + FRAME_PREFIX, bytes + len};
	uint64_t status = GRPC_HEALTH_UNKNOWN, field;

	if (len < FRAME_PREFIX || bytes[0] ||
	    ((uint32_t)bytes[1] << 24 | bytes[2] << 16 | bytes[3] << 8 | bytes[4]) !=
		    len - FRAME_PREFIX)
		return -EBADMSG;
	while (reader.at < reader.end) {
		if (get_varint(&reader, &field) || field >> 3 == 0)
			return -EBADMSG;
		if (field == FIELD_STATUS ? get_varint(&reader, &status)
					  : skip_field(&reader, field & 7))
			return -EBADMSG;
	}
	*ret = status <= GRPC_HEALTH_SERVICE_UNKNOWN ? (enum grpc_health)status
						     : GRPC_HEALTH_UNKNOWN;
	return 0;
}
