// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as a manifest: parsed, decoded, sealed and compiled, with the first
 * byte as the choice between YAML and JSON. It must end with a model or with a
 * refusal that gives a reason, and leak nothing.
 *
 * fuzz-links: user/yaml.c user/yaml_node.c user/arena.c user/utf8.c user/strbuf.c user/verdict.c user/model.c user/addr.c user/duration.c user/nearest.c user/decode.c user/decode_value.c user/texts.c user/objects.c user/object_batch.c user/objects_tie.c user/objects_meta.c user/objects_service.c user/objects_slice.c user/objects_pod.c user/objects_rule.c user/objects_traffic.c user/objects_outlier.c user/objects_virtual.c user/policy.c user/policy_vip.c user/policy_traffic.c user/policy_replica.c user/policy_check.c user/policy_verdict.c
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"
#include "policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct policy_options options = {.node_name = "node-1"};
	struct verdicts verdicts = {0};
	struct objects *objects;
	struct model *model = NULL;
	struct diag diag = {0};
	struct object_batch *batch;
	const char *file;
	char *text;
	int err;

	if (!size || objects_new(&objects))
		return 0;
	file = data[0] & 1 ? "fuzz.json" : "fuzz.yaml";
	if (object_batch_new(file, &batch))
		abort();
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	err = object_batch_read(batch, text, size - 1, &diag);
	if (!err)
		err = objects_put(objects, batch);
	if (err)
		object_batch_free(batch);
	else
		err = objects_seal(objects, &diag);
	if (!err)
		err = policy_compile(objects, &options, &verdicts, &model, &diag);
	if (err ? err != -EINVAL || model || !diag.reason[0] : !model)
		abort();
	model_free(model);
	objects_free(objects);
	verdicts_done(&verdicts);
	free(text);
	return 0;
}
