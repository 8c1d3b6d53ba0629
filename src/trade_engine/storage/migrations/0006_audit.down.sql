DROP TABLE admin_audit;
DROP FUNCTION refuse_audit_change();
