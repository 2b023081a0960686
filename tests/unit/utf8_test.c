// SPDX-License-Identifier: GPL-2.0-only
/* What may be printed of text that others wrote. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#include "check.h"
#include "utf8.h"

static const char *as_text(const char *s)
{
	static char buf[256];
	struct strbuf out = {0};

	utf8_add_text(&out, s);
	snprintf(buf, sizeof(buf), "%s", out.data);
	strbuf_done(&out);
	return buf;
}

static const char *as_json(const char *s)
{
	static char buf[256];
	struct strbuf out = {0};

	utf8_add_json(&out, s);
	snprintf(buf, sizeof(buf), "%s", out.data);
	strbuf_done(&out);
	return buf;
}

TEST(length_of_characters)
{
	CHECK_INT(utf8_length(""), 1);
	CHECK_INT(utf8_length("a"), 1);
	CHECK_INT(utf8_length("\u00e9"), 2);
	CHECK_INT(utf8_length("\u20ac"), 3);
	CHECK_INT(utf8_length("\U0001f600"), 4);
	CHECK_INT(utf8_length("\xf4\x8f\xbf\xbf"), 4); /* U+10FFFF */
}

TEST(what_is_no_utf8)
{
	CHECK_INT(utf8_length("\x80"), 0);             /* a continuation alone */
	CHECK_INT(utf8_length("\xff"), 0);
	CHECK_INT(utf8_length("\xc3"), 0);             /* cut short by the end */
	CHECK_INT(utf8_length("\xe2\x82"), 0);
	CHECK_INT(utf8_length("\xc0\xaf"), 0);         /* overlong "/" */
	CHECK_INT(utf8_length("\xe0\x80\xaf"), 0);
	CHECK_INT(utf8_length("\xf0\x80\x80\xaf"), 0);
	CHECK_INT(utf8_length("\xed\xa0\x80"), 0);     /* a surrogate */
	CHECK_INT(utf8_length("\xf4\x90\x80\x80"), 0); /* beyond U+10FFFF */
}

TEST(text_holds_no_controls)
{
	CHECK_STR(as_text(""), "");
	CHECK_STR(as_text("caf\u00e9 \"x\""), "caf\u00e9 \"x\"");
	CHECK_STR(as_text("a\033[2Jb\nc\x7f"), "a?[2Jb?c?");
	CHECK_STR(as_text("a\xc2\x9b" "2Jb"), "a?2Jb"); /* C1 control sequence introducer */
	CHECK_STR(as_text("a\xff\xc3"), "a??");
	CHECK_STR(as_text("\u00a0"), "\u00a0");    /* the first that is no C1 control */
}

TEST(json_strings)
{
	CHECK_STR(as_json(""), "\"\"");
	CHECK_STR(as_json("a\"b\\c"), "\"a\\\"b\\\\c\"");
	CHECK_STR(as_json("\t\033\x7f"), "\"\\u0009\\u001b\\u007f\"");
	CHECK_STR(as_json("\xc2\x9b\u20ac"), "\"\\u009b\u20ac\"");
	CHECK_STR(as_json("x\xffy"), "\"x\\ufffdy\"");
}

/* Every string of two bytes makes valid JSON and, where it is UTF-8, comes back the same. */
TEST(json_of_any_bytes_parses)
{
	char s[3] = {0};
	unsigned bad = 0, changed = 0;

	for (unsigned i = 1; i < 65536; i++) {
		json_t *value;

		s[0] = i & 0xff;
		s[1] = i >> 8;
		value = json_loads(as_json(s), JSON_DECODE_ANY, NULL);
		bad += !value;
		if (value && utf8_length(s) && utf8_length(s + utf8_length(s)))
			changed += !!strcmp(json_string_value(value), s);
		json_decref(value);
	}
	CHECK_INT(bad, 0);
	CHECK_INT(changed, 0);
}

TEST(width_counts_characters)
{
	CHECK_INT(utf8_width(""), 0);
	CHECK_INT(utf8_width("abc"), 3);
	CHECK_INT(utf8_width("\u00e9\u20ac\U0001f600"), 3);
}
