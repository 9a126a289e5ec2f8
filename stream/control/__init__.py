"""Access to the records that control workers: the revisions of rollouts, and the switches of partitions to them."""
