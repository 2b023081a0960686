// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes Prometheus' text format. Makes label values fit for it: a scrape with
 * one broken byte is refused whole by the other side. Called by metrics.
 */
#include "exposition.h"

#include "utf8.h"

void exposition_family(struct strbuf *out, const char *name, const char *type, const char *help)
{
	strbuf_add(out, "# HELP ");
	strbuf_add(out, name);
	strbuf_add(out, " ");
	strbuf_add(out, help);
	strbuf_add(out, "\n# TYPE ");
	strbuf_add(out, name);
	strbuf_add(out, " ");
	strbuf_add(out, type);
	strbuf_add(out, "\n");
}

void exposition_label(struct strbuf *out, const char *key, const char *value)
{
	if (out->len && out->data[out->len - 1] != '{')
		strbuf_add(out, ",");
	strbuf_add(out, key);
	strbuf_add(out, "=\"");
	while (*value) {
		size_t len = utf8_length(value);

		if (*value == '\\' || *value == '"')
			strbuf_add(out, "\\");
		if (*value == '\n')
			strbuf_add(out, "\\n");
		else if (len)
			strbuf_add_bytes(out, value, len);
		else
			strbuf_add(out, "?");
		value += len ? len : 1;
	}
	strbuf_add(out, "\"");
}

void exposition_open(struct strbuf *out, const char *name)
{
	strbuf_add(out, name);
	strbuf_add(out, "{");
}

void exposition_close(struct strbuf *out, uint64_t value)
{
	strbuf_add(out, "} ");
	strbuf_add_u64(out, value);
	strbuf_add(out, "\n");
}

void exposition_close_double(struct strbuf *out, double value)
{
	strbuf_addf(out, "} %.15g\n", value);
}

static void sample_begin(struct strbuf *out, const char *name, const char *labels)
{
	strbuf_add(out, name);
	if (labels) {
		strbuf_add(out, "{");
		strbuf_add(out, labels);
		strbuf_add(out, "}");
	}
	strbuf_add(out, " ");
}

void exposition_u64(struct strbuf *out, const char *name, const char *labels, uint64_t value)
{
	sample_begin(out, name, labels);
	strbuf_add_u64(out, value);
	strbuf_add(out, "\n");
}

void exposition_double(struct strbuf *out, const char *name, const char *labels, double value)
{
	sample_begin(out, name, labels);
	strbuf_addf(out, "%.15g\n", value);
}
