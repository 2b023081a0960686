// SPDX-License-Identifier: GPL-2.0-only
/*
 * outlierDetection of a traffic policy (networking.istio.io), with Istio's
 * defaults: thresholds, times and percentages. Refuses what the API server
 * would. Called through rows of objects_rule.c.
 */
#include <errno.h>

#include "decode.h"

#define MOST_IN_A_ROW 65535u
#define SPLIT         "splitExternalLocalOriginErrors"

static int decode_failures(struct decode *decode, const struct yaml_node *value, void *into)
{
	return decode_count(decode, value, MOST_IN_A_ROW, into);
}

static int decode_old_errors(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t count;
	int err = decode_range(decode, value, 0, INT32_MAX, &count);

	if (err)
		return err;
	if (yaml_get(value->parent, "consecutive5xxErrors"))
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "the old name of consecutive5xxErrors, which is there too and "
				   "counts; take this out");
	*(unsigned *)into = count > MOST_IN_A_ROW ? MOST_IN_A_ROW : (unsigned)count;
	return decode_note(decode, value, VERDICT_MAPPED, "the old name of consecutive5xxErrors");
}

static int decode_local(struct decode *decode, const struct yaml_node *value, void *into)
{
	const struct yaml_node *split = yaml_get(value->parent, SPLIT);
	int64_t count;
	int err;

	if (split && split->type == YAML_BOOL && yaml_bool(split))
		return decode_failures(decode, value, into);
	err = decode_range(decode, value, 0, UINT32_MAX, &count);
	return err ? err
		   : decode_note(decode, value, VERDICT_UNSUPPORTED,
				 "has no effect without " SPLIT
				 ": true; failed connects count towards consecutive5xxErrors");
}

static int decode_percent(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t percent;
	int err = decode_range(decode, value, 0, 100, &percent);

	if (!err)
		*(unsigned *)into = (unsigned)percent;
	return err;
}

#define OUTLIER struct model_outlier
static const struct field outlier_fields[] = {
	FIELD_GET("consecutiveErrors", FIELD_INT, SILENT, decode_old_errors, OUTLIER,
		  consecutive_5xx),
	FIELD_GET("consecutive5xxErrors", FIELD_INT, SILENT, decode_failures, OUTLIER,
		  consecutive_5xx),
	FIELD_GET("consecutiveGatewayErrors", FIELD_INT, SILENT, decode_failures, OUTLIER,
		  consecutive_gateway),
	FIELD_GET("consecutiveLocalOriginFailures", FIELD_INT, SILENT, decode_local, OUTLIER,
		  consecutive_local),
	FIELD_GET(SPLIT, FIELD_BOOL, HONOURED, decode_bool, OUTLIER, split),
	FIELD_GET("interval", FIELD_STRING, SILENT, decode_span, OUTLIER, interval_ms),
	FIELD_GET("baseEjectionTime", FIELD_STRING, SILENT, decode_span, OUTLIER,
		  base_ejection_ms),
	FIELD_GET("maxEjectionPercent", FIELD_INT, HONOURED, decode_percent, OUTLIER,
		  max_ejection_percent),
	FIELD_GET("minHealthPercent", FIELD_INT, HONOURED, decode_percent, OUTLIER,
		  min_health_percent),
	{},
};

int decode_outlier(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct model_outlier *outlier = &((struct object_traffic *)into)->outlier;

	*outlier = (struct model_outlier){
		.enabled = true,
		.consecutive_5xx = 5,
		.consecutive_local = 5,
		.interval_ms = 10000,
		.base_ejection_ms = 30000,
		.max_ejection_percent = 10,
	};
	return decode_fields(decode, map, outlier_fields, outlier);
}
