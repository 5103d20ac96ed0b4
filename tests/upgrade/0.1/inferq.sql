BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE aliases (
	tenant VARCHAR(255) NOT NULL, 
	alias VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (tenant, alias)
);
INSERT INTO "aliases" VALUES('default','numerals','digits');
INSERT INTO "aliases" VALUES('anna','numerals','digits');
CREATE TABLE canaries (
	version_id VARCHAR(40) NOT NULL, 
	compared BIGINT NOT NULL, 
	agreed BIGINT NOT NULL, 
	since DOUBLE NOT NULL, 
	CONSTRAINT pk_canaries PRIMARY KEY (version_id)
);
CREATE TABLE comparisons (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	candidate_id VARCHAR(40) NOT NULL, 
	baseline_id VARCHAR(40) NOT NULL, 
	dataset_id BIGINT NOT NULL, 
	dataset_version INTEGER NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	error TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	report JSON, 
	created_at DOUBLE NOT NULL, 
	finished_at DOUBLE, 
	CONSTRAINT pk_comparisons PRIMARY KEY (id)
);
CREATE TABLE dataset_labels (
	dataset_id BIGINT NOT NULL, 
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	CONSTRAINT pk_dataset_labels PRIMARY KEY (dataset_id, id), 
	CONSTRAINT fk_dataset_labels_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE, 
	CONSTRAINT uq_dataset_labels_dataset_id_name UNIQUE (dataset_id, name)
);
INSERT INTO "dataset_labels" VALUES(7354960264624486,1,'eight');
INSERT INTO "dataset_labels" VALUES(7354960264624486,2,'three');
CREATE TABLE datasets (
	id BIGINT NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	message TEXT NOT NULL, 
	progress DOUBLE NOT NULL, 
	version INTEGER NOT NULL, 
	sealed BOOLEAN NOT NULL, 
	duplicates INTEGER NOT NULL, 
	unreadable INTEGER NOT NULL, 
	reasons JSON NOT NULL, 
	source TEXT NOT NULL, 
	adding BOOLEAN NOT NULL, 
	attempts INTEGER NOT NULL, 
	last_label INTEGER NOT NULL, 
	last_example INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id)
);
INSERT INTO "datasets" VALUES(7354960264624486,'default','numbers','READY','',1.0,1,1,0,0,'[]','',0,0,2,10,1.79564459585536336893e+09,1.79564460622687983512e+09);
CREATE TABLE "deliveries" (
	job_id VARCHAR(40) NOT NULL, 
	attempts INTEGER NOT NULL, 
	due_at DOUBLE, 
	delivered_at DOUBLE, 
	error TEXT NOT NULL, 
	kind VARCHAR(8) DEFAULT 'job' NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (job_id)
);
INSERT INTO "deliveries" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',1,1.79564461380582165712e+09,NULL,'The host behind the URL cannot be reached properly ([Errno 111] Connection refused). Check the URL.','job');
INSERT INTO "deliveries" VALUES('01a214c2-5ae1-7f1f-8911-a399320dc905',0,1.7956446114802572727e+09,NULL,'','job');
CREATE TABLE examples (
	dataset_id BIGINT NOT NULL, 
	id INTEGER NOT NULL, 
	label_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	split VARCHAR(12) NOT NULL, 
	source VARCHAR(8) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	blob TEXT NOT NULL, 
	"offset" BIGINT NOT NULL, 
	size INTEGER NOT NULL, 
	since INTEGER NOT NULL, 
	until INTEGER, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_examples PRIMARY KEY (dataset_id, id), 
	CONSTRAINT fk_examples_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE
);
INSERT INTO "examples" VALUES(7354960264624486,1,2,'0.png','','upload','76a564202d73afc83ef947544f79cbba89d938ec72041df6a7545c24fe6cc429','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',0,233,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,2,2,'1.png','','upload','e9d49c0a1a8b39c551471780c0cfd1be7b514667591d890227bb20dfebf45574','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',233,260,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,3,2,'2.png','','upload','45e4f8081e13112a7c9f954f478fe2dc62ec708c345b958bbddd602d663facc0','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',493,249,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,4,2,'3.png','','upload','35c103711dfd06295cd3512b0f2f373732c1f84588253083373234ea7162b3c1','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',742,275,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,5,2,'4.png','','upload','4813527c5de045d65bf11741da82c760a34dcf864c273fc22ddb32869f4971bc','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',1017,232,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,6,1,'0.png','','upload','a32b62b287d2f39f0733b7a4b605bada33b16ad270de191088336b2be13e29b8','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',1249,269,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,7,1,'1.png','','upload','8328e3d6091b47c3e3eb3f6f40c29e941372fb4b391bbe2c270e7f8bb489ea1d','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',1518,278,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,8,1,'2.png','','upload','8127d5707bee0295ebf2ebb5ee1e85ab414054f1096b426e20da2f01cdbceb77','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',1796,280,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,9,1,'3.png','','upload','97f9a13814e4a055947050bb75eca4f7e45c56f1ffb161363d86e5ae09eb3a36','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',2076,311,1,NULL,1.79564460622687983512e+09);
INSERT INTO "examples" VALUES(7354960264624486,10,1,'4.png','','upload','e039ff1cfba19b75b2e0f7f2c2a157d3e07ccaff35581d3352baff75465e375a','datasets/7354960264624486/01a214c2-46c7-7f5f-a57f-3e50aba83ce7',2387,269,1,NULL,1.79564460622687983512e+09);
CREATE TABLE facts (
	name VARCHAR(255) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('default_model','digits');
INSERT INTO "facts" VALUES('check_seconds','3.7');
CREATE TABLE images (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name TEXT NOT NULL, 
	blob TEXT NOT NULL, 
	format VARCHAR(8) NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, stage VARCHAR(8) DEFAULT 'live' NOT NULL, 
	CONSTRAINT pk_images PRIMARY KEY (id)
);
INSERT INTO "images" VALUES('image_0mwwofh8tpa4d12yjhq08q40','default','seven','images/2026-11-25/image_0mwwofh8tpa4d12yjhq08q40','PNG',32,32,170,1.79564459546990370748e+09,'live');
CREATE TABLE items (
	job_id VARCHAR(40) NOT NULL, 
	position INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	blob TEXT NOT NULL, 
	"offset" INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	result JSON, 
	error_code VARCHAR(80) NOT NULL, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_items PRIMARY KEY (job_id, position), 
	CONSTRAINT fk_items_jobs FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',0,'0.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',0,223,'DONE','[["0", 0.8860600648744481], ["5", 0.02639414937261406], ["6", 0.019184040461987316], ["4", 0.017411410936827302], ["3", 0.012464217398190452]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',1,'1.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',223,116,'DONE','[["1", 0.6901716124264767], ["7", 0.06783456947318765], ["2", 0.060784569978277976], ["5", 0.03504057992416666], ["9", 0.032965986216311235]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',2,'2.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',339,209,'DONE','[["2", 0.7209469274491351], ["7", 0.06516137509378522], ["3", 0.06424313513511828], ["5", 0.030832685650127922], ["8", 0.030540706155060326]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',3,'3.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',548,233,'DONE','[["3", 0.7962220982715602], ["8", 0.04266070526163313], ["9", 0.031180558276375076], ["0", 0.029515678594819187], ["4", 0.027245532135664188]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',4,'4.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',781,169,'DONE','[["4", 0.5012141604600382], ["1", 0.15638773301706194], ["7", 0.07181453177602318], ["3", 0.04943778858997117], ["5", 0.04818507773417268]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',5,'5.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',950,243,'DONE','[["5", 0.41842831260521374], ["6", 0.1390385387999645], ["3", 0.13900459177354732], ["7", 0.08300744407229274], ["0", 0.05738624765704304]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',6,'6.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',1193,263,'DONE','[["0", 0.3875490077830399], ["6", 0.17292460366415807], ["5", 0.09439583043935917], ["8", 0.09364583500852833], ["1", 0.059584283615493186]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',7,'7.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',1456,170,'DONE','[["7", 0.6288679886903622], ["5", 0.11846909864471121], ["2", 0.10940944712213796], ["0", 0.032020658864067346], ["1", 0.028564689838683547]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',8,'8.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',1626,269,'DONE','[["8", 0.4506022935129115], ["3", 0.1769603078571402], ["0", 0.09633228016814478], ["6", 0.06520312680460011], ["4", 0.06001093479055585]]','','');
INSERT INTO "items" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e',9,'9.png','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e',1895,265,'DONE','[["9", 0.4669801934915272], ["0", 0.12640254395530343], ["3", 0.08977070724245276], ["5", 0.08638243882021077], ["6", 0.05893317023550953]]','','');
INSERT INTO "items" VALUES('01a214c2-49ef-7c58-b320-5107713af8dc',0,'0.png','jobs/2026-11-25/01a214c2-49ef-7c58-b320-5107713af8dc',0,223,'DONE','[["0", 0.8860600648744481], ["5", 0.02639414937261406], ["6", 0.019184040461987316], ["4", 0.017411410936827302], ["3", 0.012464217398190452]]','','');
INSERT INTO "items" VALUES('01a214c2-49ef-7c58-b320-5107713af8dc',1,'1.png','jobs/2026-11-25/01a214c2-49ef-7c58-b320-5107713af8dc',223,116,'DONE','[["1", 0.6901716124264767], ["7", 0.06783456947318765], ["2", 0.060784569978277976], ["5", 0.03504057992416666], ["9", 0.032965986216311235]]','','');
INSERT INTO "items" VALUES('01a214c2-4f98-7db5-8106-fd3d866c8451',0,'image','jobs/2026-11-25/01a214c2-4f98-7db5-8106-fd3d866c8451',0,169,'DONE','[["4", 0.5012141569518035], ["1", 0.156387713279561], ["7", 0.07181453341359918], ["3", 0.04943778824393274], ["5", 0.04818507739690256]]','','');
INSERT INTO "items" VALUES('01a214c2-5ae1-7f1f-8911-a399320dc905',0,'0.png','jobs/2026-11-25/01a214c2-5ae1-7f1f-8911-a399320dc905',0,223,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',0,'0.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',0,223,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',1,'1.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',223,116,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',2,'2.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',339,209,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',3,'3.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',548,233,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',4,'4.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',781,169,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',5,'5.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',950,243,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',6,'6.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',1193,263,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',7,'7.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',1456,170,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',8,'8.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',1626,269,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',9,'9.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',1895,265,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',10,'0.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',2160,223,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',11,'1.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',2383,116,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',12,'2.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',2499,209,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',13,'3.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',2708,233,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',14,'4.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',2941,169,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',15,'5.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',3110,243,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',16,'6.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',3353,263,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',17,'7.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',3616,170,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',18,'8.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',3786,269,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde',19,'9.png','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde',4055,265,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',0,'0.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',0,223,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',1,'1.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',223,116,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',2,'2.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',339,209,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',3,'3.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',548,233,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',4,'4.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',781,169,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',5,'5.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',950,243,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',6,'6.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',1193,263,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',7,'7.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',1456,170,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',8,'8.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',1626,269,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5e20-7812-b233-35318451235a',9,'9.png','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a',1895,265,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',0,'0.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',0,223,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',1,'1.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',223,116,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',2,'2.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',339,209,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',3,'3.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',548,233,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',4,'4.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',781,169,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',5,'5.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',950,243,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',6,'6.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',1193,263,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',7,'7.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',1456,170,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',8,'8.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',1626,269,'QUEUED',NULL,'','');
INSERT INTO "items" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1',9,'9.png','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1',1895,265,'QUEUED',NULL,'','');
CREATE TABLE jobs (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	wire VARCHAR(40) NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	version_id VARCHAR(40) NOT NULL, 
	options JSON NOT NULL, 
	priority VARCHAR(8) NOT NULL, 
	total INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	deadline DOUBLE, 
	created_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	finished_at DOUBLE, 
	error_code VARCHAR(80) NOT NULL, 
	error TEXT NOT NULL, 
	metadata JSON NOT NULL, 
	idempotency_key VARCHAR(255), 
	fingerprint VARCHAR(64) NOT NULL, 
	webhook TEXT NOT NULL, 
	webhook_secret TEXT NOT NULL, 
	blob TEXT NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_tenant_idempotency_key UNIQUE (tenant, idempotency_key)
);
INSERT INTO "jobs" VALUES('01a214c2-4875-79cc-a35c-73882af2d53e','default','native','DONE','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',10,10,0,NULL,1.79564460658184719089e+09,1.7956446068418154716e+09,1.79564460786699271201e+09,'','','{"order": 7}',NULL,'876dadd9c1ed0d914fb741e72e8c0b1787782ebbdc02c732e1711dfacb3b91b0','http://127.0.0.1:9/called-back','','jobs/2026-11-25/01a214c2-4875-79cc-a35c-73882af2d53e');
INSERT INTO "jobs" VALUES('01a214c2-49ef-7c58-b320-5107713af8dc','anna','native','DONE','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',2,2,0,NULL,1.79564460695938587185e+09,1.79564460733576703073e+09,1.79564460786699271201e+09,'','','{}','once','2a82650455d6af635215201396b423cf30c97626de83c7cd2bab64bd3bd544f4','','','jobs/2026-11-25/01a214c2-49ef-7c58-b320-5107713af8dc');
INSERT INTO "jobs" VALUES('01a214c2-4f98-7db5-8106-fd3d866c8451','default','huggingface','DONE','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',1,1,0,NULL,1.79564460840823721882e+09,1.79564460843148207668e+09,1.79564460853905797006e+09,'','','{}',NULL,'91b75028eca7ba7c57f702d832dc37eafd0fc1fa3634d96d4b0896999f8c5763','','','jobs/2026-11-25/01a214c2-4f98-7db5-8106-fd3d866c8451');
INSERT INTO "jobs" VALUES('01a214c2-5ae1-7f1f-8911-a399320dc905','default','native','CANCELLED','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',1,0,0,NULL,1.79564461129787564276e+09,NULL,1.7956446114802572727e+09,'','','{}',NULL,'be9e2875519bb7f1af79fe4a0ee2cfb920f61736efebc1f613488c794c7a07b7','http://127.0.0.1:9/called-back','','jobs/2026-11-25/01a214c2-5ae1-7f1f-8911-a399320dc905');
INSERT INTO "jobs" VALUES('01a214c2-5d47-77fd-b824-405120cd8cde','default','native','QUEUED','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',20,0,0,NULL,1.79564461191163802144e+09,NULL,NULL,'','','{}',NULL,'766d34592a78300f43aceb47cce6d703a5b2ecabb8915e55ab37f320d8ea5a80','','','jobs/2026-11-25/01a214c2-5d47-77fd-b824-405120cd8cde');
INSERT INTO "jobs" VALUES('01a214c2-5e20-7812-b233-35318451235a','default','native','QUEUED','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','low',10,0,0,1.795648212124358654e+09,1.79564461212824630735e+09,NULL,NULL,'','','{}',NULL,'246a33563bc1d2eac5e03b2e754058f7bb9e86271952c0216668c25969240bbc','','','jobs/2026-11-25/01a214c2-5e20-7812-b233-35318451235a');
INSERT INTO "jobs" VALUES('01a214c2-5efe-7c55-904c-69b641ba58e1','anna','native','QUEUED','digits','1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"task": "classify", "top_k": 5, "function_to_apply": "softmax", "exif": true}','normal',10,0,0,NULL,1.79564461235049414641e+09,NULL,NULL,'','','{}',NULL,'1c02d3c984f2754c2c65cb95be2fc337fa93223efe096277b04765f8ff2650dc','','','jobs/2026-11-25/01a214c2-5efe-7c55-904c-69b641ba58e1');
CREATE TABLE "keys" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	prefix VARCHAR(16) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	scopes JSON NOT NULL, 
	created_at DOUBLE NOT NULL, 
	revoked_at DOUBLE, 
	stage VARCHAR(8) DEFAULT 'live' NOT NULL, 
	account VARCHAR(255) DEFAULT '' NOT NULL, 
	public_key TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_keys PRIMARY KEY (id), 
	CONSTRAINT uq_keys_hash UNIQUE (hash)
);
INSERT INTO "keys" VALUES('01a214c2-1799-779f-ba0f-5185c6e428f3','default','owner','iq_7QcN2','a3940d332682dae32e416e4d1cbcd71fb1aa8b65f7bc23a40fa09bc0a5af3d9e','["infer", "models", "keys"]',1.79564459407343912124e+09,NULL,'live','','');
INSERT INTO "keys" VALUES('01a214c2-18ed-7c9e-98d0-232d43ec13b5','anna','app','iq_hzNvU','6997bbcd156df55ab920f61dbf5a2b5090299108743ec2694a7944266939c244','["infer", "models"]',1.79564459441365122799e+09,NULL,'live','','');
CREATE TABLE promotions (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	version_id VARCHAR(40) NOT NULL, 
	previous_id VARCHAR(40) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_promotions PRIMARY KEY (id)
);
CREATE TABLE tokens (
	hash VARCHAR(64) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	CONSTRAINT pk_tokens PRIMARY KEY (hash), 
	CONSTRAINT fk_tokens_keys FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);
CREATE TABLE trainings (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	wire VARCHAR(40) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	title VARCHAR(255) NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	dataset_id BIGINT NOT NULL, 
	dataset_version INTEGER NOT NULL, 
	base VARCHAR(255) NOT NULL, 
	base_id VARCHAR(40) NOT NULL, 
	parameters JSON NOT NULL, 
	promote BOOLEAN NOT NULL, 
	withheld BOOLEAN NOT NULL, 
	progress DOUBLE NOT NULL, 
	message TEXT NOT NULL, 
	curve JSON NOT NULL, 
	attempts INTEGER NOT NULL, 
	version_id VARCHAR(40) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	error_code VARCHAR(80) NOT NULL, 
	error TEXT NOT NULL, 
	evidence JSON, 
	webhook TEXT NOT NULL, 
	webhook_secret TEXT NOT NULL, 
	metadata JSON NOT NULL, 
	created_at DOUBLE NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	finished_at DOUBLE, 
	CONSTRAINT pk_trainings PRIMARY KEY (id)
);
INSERT INTO "trainings" VALUES('01a214c2-6086-78d1-9581-b4a48b307f71','default','native','mine','mine','RUNNING',7354960264624486,1,'digits 1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"epochs": 100, "learning_rate": 0.001, "batch_size": 32, "max_unimproved_epochs": 100, "train_split_ratio": 0.8, "seed": 0, "with_feedback": true, "fine_tune": "never", "flip": true, "max_seconds": 86400.0}',0,0,0.501,'head: epoch 1, 100.0% of the validation pictures right','[{"stage": "head", "epoch": 1, "train_loss": 0.0012632795454313357, "train_accuracy": 1.0, "validation_loss": 0.02367619052529335, "validation_accuracy": 1.0}]',0,'','','','',NULL,'','','{}',1.79564461274284625051e+09,1.79564461443101382252e+09,1.79564461284570884699e+09,NULL);
INSERT INTO "trainings" VALUES('01a214c2-6832-7bbc-8faa-7e60e316e1d8','default','native','next','next','QUEUED',7354960264624486,1,'digits 1','01a214c1-c882-75f6-b416-dae5e806bc3a','{"epochs": 100, "learning_rate": 0.001, "batch_size": 32, "max_unimproved_epochs": 100, "train_split_ratio": 0.8, "seed": 0, "with_feedback": true, "fine_tune": "never", "flip": true, "max_seconds": 86400.0}',0,0,0.0,'waiting for a trainer','[]',0,'','','','',NULL,'','','{}',1.79564461470697546005e+09,1.79564461470697546005e+09,NULL,NULL);
CREATE TABLE usage (
	tenant VARCHAR(255) NOT NULL, 
	meter VARCHAR(40) NOT NULL, 
	month VARCHAR(7) NOT NULL, 
	used BIGINT NOT NULL, 
	CONSTRAINT pk_usage PRIMARY KEY (tenant, meter, month)
);
INSERT INTO "usage" VALUES('default','img','2026-11',1);
CREATE TABLE "versions" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	is_default BOOLEAN NOT NULL, 
	family VARCHAR(255) NOT NULL, 
	architecture VARCHAR(255) NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	reason TEXT NOT NULL, 
	labels JSON NOT NULL, 
	preprocessing JSON, 
	source TEXT NOT NULL, 
	weights TEXT NOT NULL, 
	checksum VARCHAR(64) NOT NULL, 
	example JSON, 
	max_batch INTEGER NOT NULL, 
	max_delay_ms INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	training_id VARCHAR(40) DEFAULT '' NOT NULL, 
	withheld BOOLEAN DEFAULT 0 NOT NULL, 
	canary DOUBLE DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_versions PRIMARY KEY (id), 
	CONSTRAINT uq_versions_tenant_name_version UNIQUE (tenant, name, version)
);
INSERT INTO "versions" VALUES('01a214c1-c87b-79df-8497-b518062018f9','*','resnet50','1',1,'','resnet50','absent','','[]',NULL,'pretrained','','',NULL,0,0,'{}',0,1.79564457381960392002e+09,'',0,0.0);
INSERT INTO "versions" VALUES('01a214c1-c882-75f6-b416-dae5e806bc3a','*','digits','1',1,'digits','digits','ready','','["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]','{"resize": 32, "crop": 32, "mean": [0.5], "std": [0.5], "interpolation": "bilinear", "mode": "L"}','pretrained','weights/eae05e0eea3629a0bd641982c7259a71e022ec4fbc6424aaf333cf08fb629105.safetensors','eae05e0eea3629a0bd641982c7259a71e022ec4fbc6424aaf333cf08fb629105','{"blob": "examples/01a214c1-c882-75f6-b416-dae5e806bc3a.png", "logits": [-2.0838778018951416, -0.8017761707305908, 1.3556164503097534, -0.27743804454803467, -0.07402895390987396, 0.19902855157852173, -1.5466448068618774, 1.1692560911178589, -3.2518227100372314, -2.011312246322632]}',0,0,'{}',1,1.79564457382628297806e+09,'',0,0.0);
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at);
CREATE INDEX ix_jobs_live ON jobs (version_id, tenant) WHERE status IN ('QUEUED', 'RUNNING');
CREATE INDEX ix_jobs_tenant_id ON jobs (tenant, id);
CREATE UNIQUE INDEX uq_keys_account_public_key ON keys (account, public_key) WHERE revoked_at IS NULL AND account <> '';
CREATE INDEX ix_images_tenant_stage_id ON images (tenant, stage, id);
CREATE INDEX ix_tokens_expires_at ON tokens (expires_at);
CREATE INDEX ix_comparisons_status ON comparisons (status);
CREATE INDEX ix_comparisons_tenant_name ON comparisons (tenant, name);
CREATE INDEX ix_datasets_moving ON datasets (state) WHERE state IN ('LOADING', 'DELETING');
CREATE INDEX ix_datasets_tenant_id ON datasets (tenant, id);
CREATE INDEX ix_promotions_tenant_name ON promotions (tenant, name);
CREATE INDEX ix_trainings_dataset_id ON trainings (dataset_id);
CREATE INDEX ix_trainings_tenant_id ON trainings (tenant, id);
CREATE INDEX ix_trainings_tenant_started_at ON trainings (tenant, started_at);
CREATE UNIQUE INDEX uq_trainings_tenant_name ON trainings (tenant, name) WHERE status IN ('QUEUED', 'RUNNING');
CREATE INDEX ix_examples_dataset_id_label_id ON examples (dataset_id, label_id);
CREATE UNIQUE INDEX uq_examples_dataset_id_sha256 ON examples (dataset_id, sha256) WHERE until IS NULL;
CREATE INDEX ix_deliveries_due_at ON deliveries (due_at);
COMMIT;
