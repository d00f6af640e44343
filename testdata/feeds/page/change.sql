ALTER TABLE orders ADD COLUMN channel text NOT NULL DEFAULT 'web';
ALTER TABLE orders DROP COLUMN felt;
CREATE TABLE refunds (id bigint PRIMARY KEY, order_id bigint NOT NULL, amount numeric(10, 2));
