// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is asked of a replica: a copy of its model_probe with everything that
 * can be made ready beforehand, such as the request. Refuses to let a manifest
 * smuggle a second request or header into the first: control characters in
 * header values become spaces, those in paths are percent-encoded. Called by
 * probe_set_sync().
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "grpc_health.h"
#include "probe_set.h"
#include "strbuf.h"

static const struct probe_protocol *const protocols[] = {
	[MODEL_PROBE_TCP] = &probe_tcp,
	[MODEL_PROBE_HTTP] = &probe_http,
	[MODEL_PROBE_HTTPS] = &probe_https,
	[MODEL_PROBE_GRPC] = &probe_grpc,
};
static const char *const titles[] = {
	[MODEL_PROBE_NONE] = "no probe",
	[MODEL_PROBE_TCP] = "tcp connect",
	[MODEL_PROBE_HTTP] = "http GET ",
	[MODEL_PROBE_HTTPS] = "https GET ",
	[MODEL_PROBE_GRPC] = "grpc Check ",
};

static void add_path(struct strbuf *buf, const char *path)
{
	if (!path || *path != '/')
		strbuf_add(buf, "/");
	for (; path && *path; path++) {
		if (*path > 0x20 && *path < 0x7f)
			strbuf_add_bytes(buf, path, 1);
		else
			strbuf_addf(buf, "%%%02X", (unsigned char)*path);
	}
}

static void add_header(struct strbuf *buf, const char *name, const char *value)
{
	for (; *name; name++)
		if (*name > 0x20 && *name < 0x7f && *name != ':')
			strbuf_add_bytes(buf, name, 1);
	strbuf_add(buf, ": ");
	for (; *value; value++)
		strbuf_add_bytes(buf, (unsigned char)*value < 0x20 ? " " : value, 1);
	strbuf_add(buf, "\r\n");
}

static bool has_header(const struct model_probe *probe, const char *name)
{
	for (size_t i = 0; i < probe->n_headers; i++)
		if (!strcasecmp(probe->headers[i].name, name))
			return true;
	return false;
}

/* The header lines that every replica gets alike: all but a Host made of its address. */
static void add_headers(struct strbuf *buf, const struct model_probe *probe)
{
	if (!has_header(probe, "User-Agent"))
		add_header(buf, "User-Agent", "sluice-probe/" SLUICE_VERSION);
	if (!has_header(probe, "Accept"))
		add_header(buf, "Accept", "*/*");
	for (size_t i = 0; i < probe->n_headers; i++)
		add_header(buf, probe->headers[i].name, probe->headers[i].value);
	if (probe->host)
		add_header(buf, "Host", probe->host);
}

static int make_path(struct probe_spec *spec)
{
	struct strbuf buf = {0};

	add_path(&buf, spec->asked.path);
	spec->path = strbuf_take(&buf);
	return spec->path ? 0 : -1;
}

static int make_request(struct probe_spec *spec)
{
	const struct model_probe *probe = &spec->asked;
	struct strbuf buf = {0};

	if (probe->kind == MODEL_PROBE_GRPC) {
		grpc_health_request(&buf, probe->grpc_service ?: "");
	} else {
		if (probe->kind == MODEL_PROBE_HTTP)
			strbuf_addf(&buf, "GET %s HTTP/1.1\r\n", spec->path);
		add_headers(&buf, probe);
	}
	spec->request_len = buf.len;
	spec->request = strbuf_take(&buf);
	return spec->request ? 0 : -1;
}

static int make_title(struct probe_spec *spec)
{
	struct strbuf buf = {0};

	strbuf_add(&buf, titles[spec->asked.kind]);
	if (spec->asked.kind == MODEL_PROBE_GRPC)
		strbuf_addf(&buf, "\"%s\"", spec->asked.grpc_service ?: "");
	else if (spec->path)
		strbuf_add(&buf, spec->path);
	spec->title = strbuf_take(&buf);
	return spec->title ? 0 : -1;
}

/* Whatever of it the protocol needs. */
static int make_texts(struct probe_spec *spec)
{
	bool is_http = spec->asked.kind == MODEL_PROBE_HTTP || spec->asked.kind == MODEL_PROBE_HTTPS;
	bool has_request = is_http || spec->asked.kind == MODEL_PROBE_GRPC;

	if (is_http && make_path(spec))
		return -1;
	if (has_request && make_request(spec))
		return -1;
	return make_title(spec);
}

static unsigned at_least(unsigned value, unsigned min)
{
	return value > min ? value : min;
}

unsigned probe_shared_interval_ms(unsigned interval_ms, unsigned peers)
{
	uint64_t shared = (uint64_t)interval_ms * at_least(peers, 1);

	return shared < MODEL_PROBE_INTERVAL_MAX_MS ? shared : MODEL_PROBE_INTERVAL_MAX_MS;
}

static void make_rules(struct probe_spec *spec)
{
	const struct model_probe *probe = &spec->asked;
	unsigned interval_ms = at_least(probe->interval_ms, PROBE_TICK_MS);
	unsigned timeout_ms = at_least(probe->timeout_ms, PROBE_TICK_MS);
	unsigned pending = at_least(timeout_ms / interval_ms, 1);

	spec->rules.interval_ns = interval_ms * 1000000ull;
	spec->rules.failure_threshold = at_least(probe->failure_threshold, 1);
	spec->rules.success_threshold = at_least(probe->success_threshold, 1);
	spec->timeout_ns = timeout_ms * 1000000ull;
	spec->max_pending = pending < PROBE_MAX_PENDING ? pending : PROBE_MAX_PENDING;
}

struct probe_spec *probe_spec_new(const struct model_probe *probe)
{
	struct probe_spec *spec = calloc(1, sizeof(*spec));

	if (!spec)
		return NULL;
	spec->refs = 1;
	spec->protocol = protocols[probe->kind];
	if (model_probe_copy(&spec->texts, probe, &spec->asked) || make_texts(spec)) {
		probe_spec_unref(spec);
		return NULL;
	}
	make_rules(spec);
	return spec;
}

void probe_spec_unref(struct probe_spec *spec)
{
	if (!spec || --spec->refs)
		return;
	texts_done(&spec->texts);
	free(spec->title);
	free(spec->request);
	free(spec->path);
	free(spec);
}
