// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two gRPC health messages, byte for byte.
 */
#include <errno.h>

#include "check.h"
#include "grpc_health.h"

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void check_request(const char *service, const uint8_t *bytes, size_t len)
{
	struct strbuf buf = {0};

	grpc_health_request(&buf, service);
	CHECK(!strbuf_failed(&buf));
	CHECK_INT(buf.len, len);
	CHECK(buf.len == len && !memcmp(buf.data, bytes, len));
	strbuf_done(&buf);
}

static int response(const uint8_t *bytes, size_t len)
{
	enum grpc_health health = GRPC_HEALTH_UNKNOWN;
	int err = grpc_health_response(bytes, len, &health);

	return err ? err : (int)health;
}

TEST(requests)
{
	check_request("", BYTES(0, 0, 0, 0, 0));
	check_request("ab", BYTES(0, 0, 0, 0, 4, 0x0a, 2, 'a', 'b'));
}

TEST(request_with_a_long_name)
{
	char name[301];
	struct strbuf buf = {0};

	memset(name, 'x', 300);
	name[300] = '\0';
	grpc_health_request(&buf, name);
	CHECK_INT(buf.len, 5 + 1 + 2 + 300);
	/* 303 bytes in the frame, 300 = 0xac 0x02 as varint */
	CHECK(!memcmp(buf.data, "\0\0\0\1\x2f\x0a\xac\x02xx", 10));
	strbuf_done(&buf);
}

TEST(responses)
{
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 8, 1)), GRPC_HEALTH_SERVING);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 8, 2)), GRPC_HEALTH_NOT_SERVING);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 8, 3)), GRPC_HEALTH_SERVICE_UNKNOWN);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 8, 9)), GRPC_HEALTH_UNKNOWN);
	/* a default is left out */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 0)), GRPC_HEALTH_UNKNOWN);
	/* an overlong varint is allowed, the last of two values counts */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 5, 8, 2, 8, 0x81, 0)), GRPC_HEALTH_SERVING);
}

TEST(unknown_fields_are_skipped)
{
	CHECK_INT(response(BYTES(0, 0, 0, 0, 6, 0x12, 2, 8, 2, 8, 1)), GRPC_HEALTH_SERVING);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 4, 0x10, 7, 8, 1)), GRPC_HEALTH_SERVING);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 7, 0x15, 1, 2, 3, 4, 8, 1)), GRPC_HEALTH_SERVING);
	CHECK_INT(response(BYTES(0, 0, 0, 0, 11, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1)),
		  GRPC_HEALTH_SERVING);
}

TEST(refused)
{
	CHECK_INT(response(BYTES(0)), -EBADMSG);
	CHECK_INT(response(BYTES(1, 0, 0, 0, 2, 8, 1)), -EBADMSG);       /* compressed */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 3, 8, 1)), -EBADMSG);       /* cut */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 1, 8, 1)), -EBADMSG);       /* more than one */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 1, 8)), -EBADMSG);          /* no value */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 8, 0x81)), -EBADMSG);    /* cut varint */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 0, 1)), -EBADMSG);       /* field 0 */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 2, 0x13, 1)), -EBADMSG);    /* group */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 3, 0x12, 9, 1)), -EBADMSG); /* longer than the rest */
	CHECK_INT(response(BYTES(0, 0, 0, 0, 12, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				 0xff, 0xff, 1)), -EBADMSG);
}
