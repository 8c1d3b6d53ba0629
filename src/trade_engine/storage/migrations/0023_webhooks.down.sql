DROP TABLE webhook_notifier, webhook_deliveries, webhook_endpoints;
